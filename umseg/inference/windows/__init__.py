"""Windows over an image: where they lie, what the networks make of them, and their weighted sums."""
