"""From contents to one HTML file: templates that escape what they are given, and scripts and data inside of it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_PACKAGE = "umseg.reports.page"
_ESCAPED = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def script_json(value: object) -> Markup:
    """A value as JSON that a script element can hold: no text in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return Markup(text.translate(_ESCAPED))


def render(template: str, context: Mapping[str, Any], scripts: Sequence[str], *, viewer: bool = False) -> str:
    """A page as one file that loads nothing from elsewhere.

    Its content security policy lets browsers run umseg's own scripts only, and load nothing but what is in the page.

    Args:
        template: Name of the template.
        context: What the template shows; texts are escaped.
        scripts: Names of the scripts of the page.
        viewer: Whether NiiVue, the viewer of volumes, is part of the page.
    """
    sources = [_text(name) for name in scripts]
    allowed = [_hash(source) for source in sources]
    niivue = ""
    if viewer:
        source = _text("niivue.umd.js")
        allowed.append(_hash(source))
        niivue = _packed(source)
    policy = (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src data: blob:; worker-src blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template(template)
    text = page.render(
        **context,
        policy=policy,
        style=Markup(_text("page.css")),
        scripts=[Markup(source) for source in sources],
        niivue=niivue,
        niivue_licence=_licence(viewer),
    )
    # Names of files that are not UTF-8 hold halves of characters, which no page can have.
    return text.encode("utf-8", "replace").decode("utf-8")


def _licence(viewer: bool) -> Markup:
    """The notice that has to travel with NiiVue, as a comment of HTML."""
    return Markup(f"<!--\n{_text('niivue.LICENSE')}-->") if viewer else Markup("")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _text(name: str) -> str:
    return (files(_PACKAGE) / "templates" / name).read_text(encoding="utf-8")


@cache
def _packed(source: str) -> str:
    return base64.b64encode(gzip.compress(source.encode(), 9, mtime=0)).decode("ascii")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = script_json
    return environment
