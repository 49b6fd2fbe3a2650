"""Pages to look at: one HTML file each, with scores, charts and pictures inside of it."""
