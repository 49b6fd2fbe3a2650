"""Resampling, axis by axis."""
