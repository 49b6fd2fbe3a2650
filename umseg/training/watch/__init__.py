"""What one looks at while a run goes on: the log, its curves, TensorBoard."""
