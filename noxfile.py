#!/usr/bin/env -S uv run
# /// script
# dependencies = ["nox>=2025.10.14"]
# ///
"""The targets of the Makefile for nox, on any operating system: ``nox -s tests``, ``nox -s lint``, ``nox -s docs``."""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"

PINS = ("--constraint", "constraints.txt")


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff, mypy and import-linter."""
    session.install(*PINS, "--editable", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments behind ``--`` go to pytest."""
    session.install(*PINS, "--editable", ".[dev]")
    session.run("pytest", "--numprocesses", "auto", "--dist", "loadfile", "--no-loadscope-reorder", *session.posargs)


@nox.session(default=False)
def oldest(session: nox.Session) -> None:
    """Run the tests with the lower bounds of the dependencies."""
    session.install("--constraint", "constraints-oldest.txt", "--editable", ".[dev]")
    session.run("pytest", "--numprocesses", "auto", "--dist", "loadfile", "--no-loadscope-reorder", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the site into ``site/``."""
    session.install(*PINS, "--editable", ".[docs]")
    session.run("mkdocs", "build", "--strict")


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the source distribution and the wheel into ``dist/``."""
    session.install("build")
    session.run("python", "-m", "build")


if __name__ == "__main__":
    nox.main()
