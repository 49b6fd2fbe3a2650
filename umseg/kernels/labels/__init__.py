"""Counting and joining the voxels of label maps."""
