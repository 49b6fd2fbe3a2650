"""The losses, and the targets with which they compare the outputs."""
