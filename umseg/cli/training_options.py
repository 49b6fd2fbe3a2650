"""The options of ``umseg train``, built from the fields of ``TrainingConfig``, whose descriptions are the help."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from umseg.architectures.options import ModelOptions
from umseg.cli.support.options_file import read_options
from umseg.common.errors import UserError
from umseg.common.hardware_names import check_precision_name
from umseg.common.registry import unknown_name
from umseg.common.text import printable
from umseg.training.config.recipes import DEFAULT_RECIPE, RECIPES
from umseg.training.config.training_config import GROUPS, WHAT, TrainingConfig, named_choices
from umseg.training.optim.registry import OptimizerSpec
from umseg.workspace import Workspace

_NOT_LISTED = ("ssm_optimizer", "transforms")
"""Options whose descriptions say where the names come from."""
_MOST_FOLDS = 100
_RECIPE = FieldInfo(annotation=str, default=DEFAULT_RECIPE, description="Defaults of the options.")


def training_parameters() -> tuple[inspect.Parameter, ...]:
    """A parameter for every option of a training, annotated for typer; the fields' groups stay together."""
    groups: dict[str, list[inspect.Parameter]] = {str(group["group"]): [] for group in GROUPS}
    for name, field, group in _fields():
        groups[group].append(_parameter(name, field, group))
    return tuple(parameter for group in groups.values() for parameter in group)


def chosen_options(context: typer.Context, names: Collection[str], file: Path | None) -> dict[str, Any]:
    """The training options that were given: those of the file, and over them those of the command line.

    Args:
        context: The call of ``umseg train``.
        names: The options that are training options.
        file: A YAML file of options.

    Returns:
        Values by field of ``TrainingConfig``, and ``recipe``.

    Raises:
        UserError: The file cannot be read, or names an unknown option.
    """
    options: dict[str, Any] = {}
    for name, value in (read_options(file) if file else {}).items():
        if name not in names:
            raise unknown_name("training option", printable(name), sorted(names)).at(file or "")
        if value is not None:
            options[name] = value
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            options[name] = context.params[name]
    options["options"] = {name: options.pop(name) for name in ModelOptions.model_fields if name in options}
    if "config" in options:
        options["configuration"] = options.pop("config")
    return options


def fold_settings(planned: Workspace, options: dict[str, Any]) -> list[TrainingConfig]:
    """The configuration of every fold that is trained; names are checked before the plan is read.

    Args:
        planned: The data set's workspace.
        options: The options that were given (``chosen_options``).

    Raises:
        UserError: A name is unknown, or a value is not valid.
    """
    folds = [_fold(text) for text in str(options.pop("fold", 0)).split(",", _MOST_FOLDS)]
    settings = [TrainingConfig.from_options({**options, "fold": fold}) for fold in folds]
    check_precision_name(settings[0].precision)
    from umseg.planning.plan import Plan

    plan = planned.load(Plan)
    if "configuration" in options:
        plan.configuration(settings[0].configuration, planned.plan_file)
        return settings
    default = plan.default_configuration
    return [setting.model_copy(update={"configuration": default}) for setting in settings]


def _fold(text: str) -> int | str:
    text = text.strip()
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise UserError("--fold is not valid.", found=printable(text), expected="a whole number, or all") from error


def _fields() -> Iterator[tuple[str, FieldInfo, str]]:
    """Option name, field and group of every training option."""
    for name, field in TrainingConfig.model_fields.items():
        if name == "schema_version":
            continue
        group = str(field.json_schema_extra["group"]) if isinstance(field.json_schema_extra, dict) else ""
        if name == "options":
            yield from ((choice, each, group) for choice, each in ModelOptions.model_fields.items())
        else:
            yield "config" if name == "configuration" else name, field, group
        if name == "fold":
            yield "recipe", _RECIPE, str(WHAT["group"])


def _parameter(name: str, field: FieldInfo, group: str) -> inspect.Parameter:
    kind = _type(field.annotation)
    flag = "--" + name.replace("_", "-")
    declaration = f"{flag}/--no-{flag[2:]}" if kind is bool and field.default else flag
    option = typer.Option(declaration, help=_help(name, field), rich_help_panel=group)
    default = field.default
    if name == "config" or default is None:
        default = None
    elif kind is str:
        default = str(default)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind | None, option]
    )


def _type(annotation: Any) -> type:
    """bool, int or float for fields of that type or None; str for all others, which pydantic reads from a text."""
    kinds = {kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)}
    kind = kinds.pop() if len(kinds) == 1 else str
    return kind if kind in (bool, int, float) else str


def _help(name: str, field: FieldInfo) -> str:
    text = field.description or ""
    known = RECIPES if name == "recipe" else named_choices().get(name, ("", ()))[1]
    return text if not known or name in _NOT_LISTED else f"{text.rstrip('.')}: {_listed(known)}."


def _listed(known: Collection[str]) -> str:
    """The names, each with its description if the table has one."""
    if not isinstance(known, Mapping):
        return ", ".join(known)
    return "; ".join(f"{name} ({_described(known, name)})" for name in known)


def _described(known: Mapping[str, Any], name: str) -> str:
    try:
        entry = known[name]
    except UserError:  # from another package; whoever chooses the name is told the reason
        return "cannot be used"
    text = str(entry.description)
    return f"{text}; lr {entry.lr:g}, decay {entry.weight_decay:g}" if isinstance(entry, OptimizerSpec) else text
