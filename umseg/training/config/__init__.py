"""What is trained: every choice of the user, and the sets of defaults."""
