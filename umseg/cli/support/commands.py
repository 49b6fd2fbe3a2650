"""How functions become commands: imported on use, help in groups, the nearest name, and how an error ends."""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, TypeVar, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from umseg.cli.support.console import say, show_messages
from umseg.common.errors import UserError
from umseg.common.registry import nearest

FunctionT = TypeVar("FunctionT", bound=Callable[..., None])


class GroupedCommand(TyperCommand):
    """A command whose help shows the options in groups, in plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each ``rich_help_panel``, in the order in which the first options name them."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                argument = parameter.param_type_name == "argument"
                title = "Arguments" if argument else getattr(parameter, "rich_help_panel", None) or "Other options"
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class NearestGroup(TyperGroup):
    """A group of commands that answers a misspelt one with the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            near = nearest(args[0], known)
            ctx.fail(
                f"There is no command '{args[0]}'. "
                + (f"Did you mean '{near}'?" if near else f"The commands are {', '.join(known)}.")
            )
        return super().resolve_command(ctx, args)


@dataclass(frozen=True)
class Verb:
    """A command that is imported when it is used.

    Attributes:
        target: ``module:object``, a function or a group.
        parameters: ``module:function`` whose parameters replace the function's ``**`` parameter; it is called only when
            the command is used, not when all commands are listed.
        grouped: Whether the help shows the function's own options in groups, too.
    """

    target: str
    parameters: str | None = None
    grouped: bool = False


def lazy_group(verbs: Mapping[str, Verb]) -> type[NearestGroup]:
    """The class of a group with these commands."""

    class LazyGroup(NearestGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(verbs)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in verbs:
                return None
            verb = verbs[cmd_name]
            target = resolve_name(verb.target)
            if isinstance(target, typer.Typer):
                group = typer.main.get_group(target)
                group.name = cmd_name
                return group
            parameters = resolve_name(verb.parameters)() if verb.parameters else ()
            single = new_group("")
            command_of(single, cmd_name, parameters, verb.grouped)(target)
            return typer.main.get_command(single)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, _summary(resolve_name(verb.target))) for name, verb in verbs.items()])

    return LazyGroup


def _summary(target: Any) -> str:
    text = target.info.help if isinstance(target, typer.Typer) else inspect.getdoc(target) or ""
    return " ".join(str(text).partition("\n\n")[0].split())


def new_group(text: str, cls: type[TyperGroup] = NearestGroup, **settings: Any) -> typer.Typer:
    """A command that has subcommands; ``text`` is its help."""
    return typer.Typer(
        help=text, cls=cls, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
        add_completion=False, **settings,
    )  # fmt: skip


def command_of(
    group: typer.Typer,
    name: str | None = None,
    parameters: tuple[inspect.Parameter, ...] = (),
    grouped: bool = False,
) -> Callable[[FunctionT], FunctionT]:
    """Register a function whose user errors end in one message and exit code 2; ``--debug`` shows where they arose.

    Args:
        group: umseg itself, or a command that has subcommands.
        name: Name of the command; that of the function if None.
        parameters: Keyword parameters, annotated for typer, in place of the function's ``**`` parameter.
        grouped: Whether the help shows options in groups even if none of ``parameters`` has one.
    """

    def register(function: FunctionT) -> FunctionT:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            debug, quiet = kwargs["debug"], kwargs["quiet"]
            level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
            show_messages(level)
            try:
                function(*args, **kwargs)
            except UserError as error:
                if debug:
                    say(traceback.format_exc(), err=True)
                say(f"error: {error}", err=True)
                raise typer.Exit(2) from None
            except KeyboardInterrupt:
                say("interrupted", err=True)
                raise typer.Exit(130) from None

        if parameters:
            _replace_keywords(guarded, parameters)
        kind = GroupedCommand if grouped or any(map(_has_group, parameters)) else None
        group.command(name=name or function.__name__, cls=kind)(guarded)
        return function

    return register


def _has_group(parameter: inspect.Parameter) -> bool:
    return any(getattr(part, "rich_help_panel", None) for part in get_args(parameter.annotation))


def _replace_keywords(function: Callable[..., None], parameters: tuple[inspect.Parameter, ...]) -> None:
    """Give a function the signature in which ``parameters`` stand in place of its ``**`` parameter.

    They come before its own parameters with defaults, so that the groups of a help text begin with them.
    """
    signature = inspect.signature(function, eval_str=True)
    keyword = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    required = [parameter for parameter in keyword if parameter.default is inspect.Parameter.empty]
    optional = [parameter for parameter in keyword if parameter.default is not inspect.Parameter.empty]
    merged = [*required, *parameters, *optional]
    function.__signature__ = signature.replace(parameters=merged)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in merged}
