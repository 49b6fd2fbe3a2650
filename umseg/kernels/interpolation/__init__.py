"""Interpolation at the voxels of a rotated patch."""
