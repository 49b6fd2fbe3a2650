"""What every room uses: user errors, whole-or-nothing files, JSON records, per-case work."""
