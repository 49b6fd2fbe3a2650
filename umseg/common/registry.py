"""One table for each kind of thing that users choose by name, open to other packages through entry points."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from umseg.common.errors import UserError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Things of one kind by name: umseg's own first, then those of installed packages.

    Another package adds one with an entry point in its ``pyproject.toml``, which is imported when the name is looked
    up, not before::

        [project.entry-points."umseg.losses"]
        tversky = "my_package.tversky:LOSS"

    Args:
        kind: What an entry is called in messages, e.g. ``loss``.
        group: The entry points' group, e.g. ``umseg.losses``.
        entries: umseg's own, in the order in which they are listed.
        accepts: The type that an entry point has to be an instance of; None checks nothing.
        named_by: The attribute in which an entry carries its own name, which has to be that of the entry point; None if
            entries carry none, or one for people.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        entries: Mapping[str, T],
        accepts: type[Any] | tuple[type[Any], ...] | None = None,
        named_by: str | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self._entries = dict(entries)
        self._accepts = accepts
        self._named_by = named_by

    def __getitem__(self, name: str) -> T:
        """The entry of that name.

        Raises:
            KeyError: There is none.
            UserError: The package that adds it cannot be used.
        """
        if name in self._entries:
            return self._entries[name]
        return self._load(self._plugins[name])

    def __iter__(self) -> Iterator[str]:
        # A snapshot: looking an entry up moves it from the one to the other.
        yield from [*self._entries, *self._plugins]

    def __len__(self) -> int:
        return len(self._entries) + len(self._plugins)

    def __contains__(self, name: object) -> bool:
        # A name can be asked for without importing the package behind it.
        return name in self._entries or name in self._plugins

    def look_up(self, name: str, option: str | None = None) -> T:
        """The entry that a user named.

        Args:
            name: What the user wrote.
            option: The command-line option that takes such a name.

        Raises:
            UserError: There is no such entry; lists the known ones and suggests the nearest.
        """
        if name not in self:
            raise unknown_name(self.kind, name, self, option)
        return self[name]

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            if entry.name in self._entries or entry.name in found:
                raise UserError(
                    f"Two packages define the {self.kind} '{entry.name}'.",
                    found=f"{_origin(entry)} and {_origin(found[entry.name]) if entry.name in found else 'umseg'}",
                    expected="one package for each name",
                    remedy=f"Uninstall one of them, or rename the entry point in the group {self.group}.",
                )
            found[entry.name] = entry
        return found

    def _load(self, entry: EntryPoint) -> T:
        try:
            loaded = entry.load()
        except Exception as error:  # whatever another package raises while it is imported
            raise UserError(
                f"The {self.kind} '{entry.name}' cannot be imported.",
                found=f"{type(error).__name__}: {error}",
                expected=f"{entry.value}, from the package {_origin(entry)}",
                remedy=f"Update or uninstall {_origin(entry)}.",
            ) from error
        if self._accepts is not None and not isinstance(loaded, self._accepts):
            accepted = self._accepts if isinstance(self._accepts, tuple) else (self._accepts,)
            raise UserError(
                f"The {self.kind} '{entry.name}' is of the wrong type.",
                found=f"{entry.value} from the package {_origin(entry)} is of type {type(loaded).__name__}",
                expected=" or ".join(kind.__name__ for kind in accepted),
                remedy=f"Update or uninstall {_origin(entry)}.",
            )
        if self._named_by is not None and (own := getattr(loaded, self._named_by)) != entry.name:
            raise UserError(
                f"The {self.kind} '{entry.name}' calls itself '{own}'.",
                found=f"{self._named_by} = '{own}' in {entry.value}, from the package {_origin(entry)}",
                expected=f"the name of its entry point in the group {self.group}, '{entry.name}'",
                remedy=f"Rename one of the two in {_origin(entry)}.",
            )
        self._entries[entry.name] = loaded
        del self._plugins[entry.name]
        result: T = loaded
        return result


def unknown_name(kind: str, name: str, known: Iterable[str], option: str | None = None) -> UserError:
    """The error for a name that is not known, with the nearest known name as the remedy.

    Args:
        kind: What the name stands for, e.g. ``model``.
        name: What the user wrote.
        known: The names that exist.
        option: The command-line option that takes such a name, e.g. ``--model``.
    """
    names = list(known)
    near = nearest(name, names)
    choose = f"with {option}" if option else "in its place"
    return UserError(
        f"Unknown {kind} '{name}'.",
        found=name,
        expected=", ".join(names) or "none: there are none",
        remedy=f"Did you mean '{near}'?" if near else f"Choose one of the known names {choose}.",
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one most likely stands for, or None; letter case does not matter."""
    by_fold = {other.casefold(): other for other in known}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None


def _origin(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
