"""`atoll COMMAND ...`: finds the command and runs it. Each is a file here, imported when it is asked for."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn, Protocol

COMMANDS = {
    "serve": ("atoll.cli.serve_command", "serve model repositories over HTTP and gRPC"),
    "sagemaker": ("atoll.cli.sagemaker_command", "serve as Amazon SageMaker's hosting containers do"),
    "validate": ("atoll.cli.validate_command", "say what is wrong with the models of a repository, without serving"),
    "inspect": ("atoll.cli.inspect_command", "show what a model holds and the config.pbtxt that would be used"),
    "trace": ("atoll.cli.trace_command", "draw the traces that a server has written to a file"),
    "key": ("atoll.cli.key_command", "make an API key for --api-key-file"),
}
PIPE_CLOSED = 128 + 13  # what a shell says of a program that SIGPIPE ended


class Command(Protocol):
    """What a command's module offers."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Its errors are one line: the usage of a command with a hundred options would push the reason off the screen."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (`{self.prog} --help` lists what there is)\n")


def _meant(word: str, command: argparse.ArgumentParser) -> str:
    """The option of a command that a wrong one likely stands for."""
    actions = command._actions  # noqa: SLF001  argparse has no public list of them
    options = [name for action in actions for name in action.option_strings]
    near = get_close_matches(word.partition("=")[0], options, 1, cutoff=0.8)
    return f" (did you mean {near[0]}?)" if near else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = _Parser(prog="atoll", description="A Triton-compatible inference server.")
    parser.add_argument("--version", action="version", version=f"atoll {version('atoll')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (module, help_text) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
        if name in words[:1]:
            import_module(module).add_arguments(command)
    namespace, unknown = parser.parse_known_args(words)
    if unknown:
        command = commands.choices[words[0]]
        command.error(f"unrecognized arguments: {' '.join(unknown)}{_meant(unknown[0], command)}")
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
