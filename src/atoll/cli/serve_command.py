"""`atoll serve`: the options of options.py as command-line arguments, in tritonserver's own forms."""

import argparse
import math
import sys
from collections.abc import Callable
from typing import Any

from atoll.errors import AtollError
from atoll.options import OPTIONS, OURS, Option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option once, in its section; and model repositories or files as plain arguments."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="a model repository or a bare model file; the same as --model-repository",
    )
    sections: dict[str, Any] = {}
    for option in OPTIONS:
        section = sections.setdefault(option.section, parser.add_argument_group(option.section))
        names = [f"--{name}" for name in (option.name, *option.aliases)]
        section.add_argument(*names, dest=option.field, help=_help(option), **_form(option))


def run(namespace: argparse.Namespace) -> int:
    """Serve until a signal; 0 after an orderly end, 1 when it could not start or had to leave requests behind."""
    from atoll.serve import serve

    values = {option.field: getattr(namespace, option.field) for option in OPTIONS}
    values["model_repository"] = [*values["model_repository"], *namespace.paths]
    if not values["model_repository"]:
        print("atoll serve: no model repository: name a directory of models or a model file", file=sys.stderr)
        return 1
    try:
        return serve(values)
    except AtollError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.strerror or error}", file=sys.stderr)
    return 1


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
            value: float = option.kind(text)
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
