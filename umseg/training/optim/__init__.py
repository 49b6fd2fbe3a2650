"""Optimisers, the schedule of the learning rate, and the average of the weights."""
