"""The packages that ONNX needs, which are an extra of umseg."""

from __future__ import annotations

from importlib.util import find_spec

from umseg.common.errors import UserError


def require_onnx() -> None:
    """Refuse work with ONNX where a package is missing, before one of the modules that import it is.

    Raises:
        UserError: ``onnx`` or ``onnxruntime`` is not installed.
    """
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            remedy='Run `pip install "umseg[onnx]"`.',
        )
