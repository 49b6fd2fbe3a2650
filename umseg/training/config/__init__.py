"""The configuration of a training: every choice of the user, and the sets of defaults."""
