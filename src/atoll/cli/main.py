"""`atoll COMMAND ...`: finds the command and runs it. Each is a file here, imported when it is asked for."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Protocol

COMMANDS = {
    "serve": ("atoll.cli.serve_command", "serve model repositories over HTTP and gRPC"),
    "validate": ("atoll.cli.validate_command", "say what is wrong with the models of a repository, without serving"),
    "inspect": ("atoll.cli.inspect_command", "show what a model holds and the config.pbtxt that would be used"),
}
PIPE_CLOSED = 128 + 13  # what a shell says of a program that SIGPIPE ended


class Command(Protocol):
    """What a command's module offers."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="atoll", description="A Triton-compatible inference server.")
    parser.add_argument("--version", action="version", version=f"atoll {version('atoll')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (module, help_text) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
        if name in words[:1]:
            import_module(module).add_arguments(command)
    namespace = parser.parse_args(words)
    if namespace.command is None:
        parser.print_help()
        return 2
    try:
        status: int = import_module(COMMANDS[namespace.command][0]).run(namespace)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever reads has enough, as in `atoll validate models | head`; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return status
