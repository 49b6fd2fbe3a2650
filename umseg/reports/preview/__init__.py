"""Previews: a picture of every segmented case."""
