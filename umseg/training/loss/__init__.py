"""The losses and what they compare the outputs with."""
