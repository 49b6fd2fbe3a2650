"""The loop: a run, its steps, how it stops, and the processes that share it."""
