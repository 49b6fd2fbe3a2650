"""The progress of a run: its log, the curves of the log, TensorBoard."""
