"""The files of a run: checkpoints, model folders and cards."""
