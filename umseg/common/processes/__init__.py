"""Work in several processes: pools, their workers, waiting, progress, and claims on folders."""
