"""Interpolation at the voxels of a rotated patch, and labels and probabilities of interpolated logits."""
