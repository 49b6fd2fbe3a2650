"""The TIFF format: pictures, and stacks of slices."""
