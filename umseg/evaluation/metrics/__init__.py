"""The metrics: pure functions of masks and label maps, and the table that names them."""
