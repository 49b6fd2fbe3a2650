"""Surfaces of masks: the cells that they run through, and how far those of two masks are apart."""
