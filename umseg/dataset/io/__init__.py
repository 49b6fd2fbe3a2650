"""File formats: how images and label maps are read, checked and written."""
