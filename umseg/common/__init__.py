"""Tools of all packages: user errors, atomic files, JSON records, registries, texts, memory, and work in processes."""
