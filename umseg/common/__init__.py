"""Tools of all packages: user errors, atomic files, JSON records, per-case work, registries, texts."""
