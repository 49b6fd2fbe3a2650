"""Cases to batches: folds, sampled patches, and the processes that prepare them."""
