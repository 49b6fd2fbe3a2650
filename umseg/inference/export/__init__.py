"""From the networks' sums on their own grid to labels and probabilities on the voxels of the image."""
