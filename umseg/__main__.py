"""``python -m umseg``."""

from umseg.cli import main

if __name__ == "__main__":
    main()
