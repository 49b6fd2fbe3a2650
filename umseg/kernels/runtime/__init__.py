"""What the kernels share: compiling, threads, vectors, tiles, and the reasons why a backend cannot run."""
