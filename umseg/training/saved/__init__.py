"""What a run writes and what others read of it: checkpoints, model folders and cards."""
