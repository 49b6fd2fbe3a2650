"""Preprocessed cases on disk, and what each of them was made from."""
