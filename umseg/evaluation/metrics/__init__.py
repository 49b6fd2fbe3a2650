"""The metrics: pure functions of masks and label maps."""
