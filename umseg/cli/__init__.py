"""The command line, one module per verb; heavy imports stand inside functions, so that help answers at once."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``umseg`` command."""
    from umseg.cli.app import app
    from umseg.cli.support.console import show_crashes

    show_crashes()
    app()
