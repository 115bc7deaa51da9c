"""Options of options.py as command-line arguments, in tritonserver's own forms."""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from atoll.options import OPTIONS, OURS, Option


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option] = OPTIONS) -> None:
    """Each of these once, in its section."""
    sections: dict[str, Any] = {}
    for option in options:
        section = sections.setdefault(option.section, parser.add_argument_group(option.section))
        names = [f"--{name}" for name in (option.name, *option.aliases)]
        section.add_argument(*names, dest=option.field, help=_help(option), **_form(option))


LOAD_TIMEOUT_S = 600
"""How long a Python model may take to be ready where a command has an end, unless the user says otherwise."""


def bounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values for a command that ends: it waits no longer than that for a model."""
    limit = f"python,load-timeout-seconds={LOAD_TIMEOUT_S}"
    return {**values, "backend_config": (limit, *values["backend_config"])}


def values_of(namespace: argparse.Namespace) -> Mapping[str, Any]:
    """The values of all options by field name, with the default of one that the command does not have."""
    return {option.field: getattr(namespace, option.field, option.default) for option in OPTIONS}


def _form(option: Option) -> dict[str, Any]:
    if option.kind is bool:
        return {"type": _boolean, "nargs": "?", "const": True, "default": option.default, "metavar": "true|false"}
    if option.kind in (int, float):
        return {"type": _number(option), "default": option.default, "metavar": "N"}
    if option.kind is list:
        return {"action": "append", "default": list(option.default), "metavar": "VALUE"}
    return {"type": str, "default": option.default, "metavar": "VALUE", "choices": option.choices or None}


def _help(option: Option) -> str:
    default = str(option.default).lower() if option.kind is bool else option.default
    parts = [option.help]
    if option.choices:
        parts.append(f"One of {', '.join(option.choices)}.")
    if default not in ((), "", None):
        parts.append(f"Default: {default}.")
    if option.source == OURS:
        parts.append("Not in tritonserver.")
    return " ".join(parts).replace("%", "%%")


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")


def _number(option: Option) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value: float = _boolean(text) if option.or_boolean and text in ("true", "false") else option.kind(text)
        except ValueError:
            kind = "whole number" if option.kind is int else "number"
            raise argparse.ArgumentTypeError(f"'{text}' is not a {kind}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"'{text}' is not a number")
        if option.minimum is not None and value < option.minimum:
            raise argparse.ArgumentTypeError(f"{text} is less than {option.minimum}")
        if option.maximum is not None and value > option.maximum:
            raise argparse.ArgumentTypeError(f"{text} is more than {option.maximum}")
        return value

    return number
