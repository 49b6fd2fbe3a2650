"""What this package adds to umseg; ``pyproject.toml`` says under which names."""
