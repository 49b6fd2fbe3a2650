"""The training loop: a run, its steps, requests to stop, and the processes that share it."""
