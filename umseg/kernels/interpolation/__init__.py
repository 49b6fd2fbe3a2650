"""Splines and majorities at the voxels of a turned patch."""
