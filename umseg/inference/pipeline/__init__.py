"""The loop over cases: what is read, segmented and written, what failed, and the record of it."""
