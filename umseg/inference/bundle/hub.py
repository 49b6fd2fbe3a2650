"""Models on the Hugging Face hub: a repository holds one bundle under a name that is always the same."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from umseg.common.errors import UserError
from umseg.common.memory import memory_text

SCHEME = "hf://"
BUNDLE_FILE = "model.umseg"
"""Name of the bundle in every repository."""

_WRITTEN = "hf://organisation/name or hf://organisation/name@revision"
# Paths of Python write one slash where there are two, and backslashes on Windows.
_SCHEME = re.compile(r"hf:[/\\]{1,2}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
_LOGIN = "Correct the name; for a model that is not public, log in with `hf auth login` first."
_TOKEN = re.compile(r"\bhf_\w+|(?i:bearer)\s+\S+")


@dataclass(frozen=True)
class HubModel:
    """A model on the hub.

    Attributes:
        repository: ``organisation/name``.
        revision: A branch, a tag or a commit; None: the newest.
    """

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_on_hub(model: str | os.PathLike[str]) -> bool:
    """Whether a model is named by its place on the hub."""
    return _SCHEME.match(os.fspath(model)) is not None


def hub_model(model: str | os.PathLike[str]) -> HubModel:
    """The model of a name that begins with ``hf://``.

    Raises:
        UserError: The name is not valid.
    """
    text = _SCHEME.sub("", os.fspath(model), count=1).replace("\\", "/")
    repository, at, revision = text.partition("@")
    if not _REPOSITORY.fullmatch(repository) or ".." in text or (at and not _REVISION.fullmatch(revision)):
        raise UserError("The name of the model on the hub is not valid.", found=SCHEME + text[:200], expected=_WRITTEN)
    return HubModel(repository, revision or None)


def fetch(model: HubModel, *, quiet: bool = False) -> Path:
    """The bundle of a model, which is downloaded into the hub's own cache unless it is there.

    Args:
        model: The model.
        quiet: Whether to show no progress bars.

    Raises:
        UserError: huggingface_hub is not installed, the repository, revision or bundle does not exist, the hub cannot
            be reached, or the disk has no space for the bundle.
    """
    hub = require_hub()
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    _require_space(hub, model, cache)
    with explained(model, f"{model} cannot be read."), progress_bars(quiet):
        return Path(hub.hf_hub_download(model.repository, BUNDLE_FILE, revision=model.revision, cache_dir=cache))


def require_hub() -> ModuleType:
    """The package huggingface_hub.

    Raises:
        UserError: It is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            "Models on the hub need the package huggingface_hub, which is not installed.",
            found=(str(error).strip().splitlines() or [type(error).__name__])[0],
            remedy='Run `pip install "umseg[hub]"`.',
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def progress_bars(quiet: bool) -> Iterator[None]:
    """A block in which the hub's package shows its progress bars, or not."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if not quiet or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _require_space(hub: ModuleType, model: HubModel, cache: Path) -> None:
    """Refuse a bundle for which the disk has no space: the hub's package would only warn, and fill the disk.

    Raises:
        UserError: There is not enough space.
    """
    size = None
    # What is wrong with the model or the connection is said by the download, which may find it in the cache.
    with contextlib.suppress(*_errors()):
        url = hub.hf_hub_url(model.repository, BUNDLE_FILE, revision=model.revision)
        size = hub.get_hf_file_metadata(url).size
    there = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    known = hub.try_to_load_from_cache(model.repository, BUNDLE_FILE, cache_dir=cache, revision=model.revision)
    if size is not None and size > free and not isinstance(known, str):
        raise UserError(
            "The bundle does not fit on the disk.",
            file=cache,
            found=f"{memory_text(free)} free",
            expected=f"{memory_text(size)} for {model}",
            remedy="Free some space, or set HF_HOME to a folder on another disk.",
        )


@contextlib.contextmanager
def explained(model: HubModel, problem: str) -> Iterator[None]:
    """Turn what the hub and the connection to it raise into an error for the user, without the user's token.

    Args:
        model: The model.
        problem: What failed, where nothing better is known.

    Raises:
        UserError: Something failed.
    """
    try:
        yield
    except _errors() as error:
        raise _explanation(error, model, problem) from None


def _explanation(error: Exception, model: HubModel, problem: str) -> UserError:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    for kind, sentence, remedy in _known(model):
        # "Not in the cache" is a kind of "not in the repository" in some versions.
        if isinstance(error, kind) and not isinstance(error, errors.LocalEntryNotFoundError):
            return UserError(sentence, remedy=remedy)
    if status in (401, 403):
        return UserError(problem, found=f"the hub refused it ({status})", remedy=_LOGIN)
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        remedy = "Check that the cache folder of the hub can be written and that its disk is not full."
        return UserError(problem, found=error.strerror, remedy=remedy)
    if status is None and isinstance(error, _connection_errors()):
        return UserError(
            f"{problem[:-1]}: the hub cannot be reached.",
            found=_first_line(error),
            expected="a connection to the hub, or a model in its cache, where it is after its first use",
            remedy="Check the connection, and that HF_HUB_OFFLINE is not set; or get the file of the model in another "
            "way, and name that.",
        )
    return UserError(problem, found=_first_line(error), remedy="Try again later.")


def _known(model: HubModel) -> Sequence[tuple[type[Exception], str, str]]:
    """Errors whose cause is known, each after those that it is a kind of, with the problem and its remedy."""
    from huggingface_hub import errors

    place = f"{SCHEME}{model.repository}"
    return (
        (
            errors.GatedRepoError,
            f"{model} is given out on conditions.",
            f"Accept them on the page of {model.repository}, and log in with `hf auth login`.",
        ),
        (errors.RepositoryNotFoundError, f"There is no model {place}, or you may not see it.", _LOGIN),
        (
            errors.RevisionNotFoundError,
            f"{place} has no revision '{model.revision}'.",
            "Name a branch, a tag or a commit of it, or leave out what follows the @.",
        ),
        (
            getattr(errors, "RemoteEntryNotFoundError", errors.EntryNotFoundError),
            f"{model} holds no model of umseg: it has no file {BUNDLE_FILE}.",
            "Name a repository that `umseg export MODEL hf://...` wrote.",
        ),
        (
            errors.LocalTokenNotFoundError,
            "You are not logged in to the hub.",
            "Run `hf auth login`, or set HF_TOKEN.",
        ),
    )


def _errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises: its own errors, and those of the connection and of the upload."""
    return (*_connection_errors(), ValueError, RuntimeError)


def _connection_errors() -> tuple[type[Exception], ...]:
    """Its errors are also errors of the package by which it connects, which is another one in each of its versions."""
    from huggingface_hub import errors

    return (*errors.HfHubHTTPError.__bases__, errors.EntryNotFoundError, OSError)


def _first_line(error: Exception) -> str:
    """The first line of an error, or of what caused it, without anything that looks like a token."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        # What the package says of an upload is only which file failed.
        error = error.__cause__
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {_TOKEN.sub('...', line)}"[:300]
