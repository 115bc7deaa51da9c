"""`atoll serve`: a server process, from its command line."""

import argparse
import os
import sys

from atoll.cli.arguments import add_options, values_of
from atoll.errors import AtollError
from atoll.frontends.vertex_ai.environment import option_defaults, storage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option once, in its section; and model repositories or files as plain arguments."""
    parser.usage = f"{parser.prog} [--OPTION=VALUE ...] [PATH ...]"
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="a model repository, or a model file or SavedModel folder alone; the same as --model-repository",
    )
    add_options(parser)
    try:
        parser.set_defaults(**option_defaults(os.environ))
    except AtollError as error:
        parser.error(str(error))


def run(namespace: argparse.Namespace) -> int:
    """Serve until a signal; 0 after an orderly end, 1 when it could not start or had to leave requests behind."""
    from atoll.models.location import mistake_about
    from atoll.serve import serve

    values = dict(values_of(namespace))
    values["model_repository"] = [*values["model_repository"], *namespace.paths] or storage(os.environ)
    if not values["model_repository"] and not values["config"]:
        print("atoll serve: no model repository: name a directory of models or a model file", file=sys.stderr)
        return 1
    try:
        return serve(values)
    except AtollError as error:
        print(f"error: {error}", file=sys.stderr)
        for mistake in filter(None, map(mistake_about, filter(None, values["model_repository"]))):
            print(f"hint: {mistake}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.strerror or error}", file=sys.stderr)
    return 1
