"""`atoll trace`: draws the traces of files that a server has written, or says how long requests were where."""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from atoll.observability.timeline.assembly import Skipped, assemble
from atoll.observability.timeline.documents import summary_document, trace_document
from atoll.observability.timeline.drawing import NARROWEST, Style, draw
from atoll.observability.timeline.entries import BrokenFileError, read_entries
from atoll.observability.timeline.requests import TraceTree
from atoll.observability.timeline.selection import Counts, Wanted, selected
from atoll.observability.timeline.summary import Summary
from atoll.observability.timeline.summary_table import summary_lines
from atoll.observability.timeline.text import shown

DEFAULT_LIMIT: Final = 20
_WIDEST: Final = 1_000
_IN_A_PIPE: Final = 100  # columns: what is written there must not depend on a window
_PIECE: Final = 1 << 20
_INTERRUPTED: Final = 128 + 2  # what a shell says of a program that SIGINT ended


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, which traces of them, and how."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a trace file; where it is not there, FILE.0, FILE.1, ...; - for input"
    )
    parser.add_argument("--model", action="append", metavar="NAME", help="traces in which this model has a part")
    parser.add_argument(
        "--id", action="append", type=_count, metavar="N", help="the trace that has this id in the file"
    )
    parser.add_argument("--request-id", action="append", metavar="ID", help="traces with a request of this id")
    parser.add_argument("--slowest", type=_count, metavar="N", help="the N slowest traces, the slowest one first")
    parser.add_argument(
        "--limit", type=_whole, metavar="N", help=f"at most so many traces, 0: all. Default: {DEFAULT_LIMIT}"
    )
    parser.add_argument(
        "--summary", action="store_true", help="count, mean and percentiles of each stage, by model and version"
    )
    parser.add_argument("--json", action="store_true", help="a JSON document a line: a trace, or a model's summary")
    parser.add_argument("-v", "--tensors", action="store_true", help="show the inputs and outputs that were noted")
    parser.add_argument(
        "--width", type=_columns, metavar="N", help=f"columns of a line. Default: the terminal's, or {_IN_A_PIPE}"
    )


def run(namespace: argparse.Namespace) -> int:
    """0 where all files were read; 1 where one is broken or ends in the middle, or no trace is as asked for; 2 where a
    file cannot be read, or holds no trace.
    """
    reading = _Reading(namespace.files)
    counts = Counts()
    wanted = Wanted(
        models=frozenset(namespace.model or ()),
        ids=frozenset(namespace.id or ()),
        request_ids=frozenset(namespace.request_id or ()),
        slowest=namespace.slowest or 0,
        limit=_limit(namespace),
    )
    try:
        traces = selected(reading.traces(), wanted, counts)
        _show_summary(traces, namespace) if namespace.summary else _show(traces, namespace)
    except KeyboardInterrupt:
        return _INTERRUPTED
    sys.stdout.flush()
    if counts.read and not counts.matched:
        _tell(f"none of the {_traces(counts.read)} is as asked for")
    elif left_out := counts.matched - counts.shown:
        more = "--limit=0 shows all of them" if not namespace.slowest else "--slowest says how many are shown"
        _tell(f"{left_out} more {'trace is' if left_out == 1 else 'traces are'} left out: {more}")
    if reading.unreadable:
        return 2
    return 1 if reading.broken or (counts.read and not counts.matched) else 0


def _limit(namespace: argparse.Namespace) -> int:
    if namespace.limit is not None:
        limit: int = namespace.limit
        return limit
    return 0 if namespace.summary or namespace.slowest else DEFAULT_LIMIT


def _show(traces: Iterator[TraceTree], namespace: argparse.Namespace) -> None:
    style = _style(namespace)
    before = ""
    for trace in traces:
        if namespace.json:
            print(json.dumps(trace_document(trace)))
            continue
        head = [f"{shown(trace.file, ascii_only=style.ascii_only)}:"] if _several(namespace, trace, before) else []
        print("\n".join([*([""] if before else []), *head, *draw(trace, style)]))
        before = trace.file


def _several(namespace: argparse.Namespace, trace: TraceTree, before: str) -> bool:
    """Whether it must be said which file a trace is of."""
    return trace.file != before and (bool(before) or trace.file != namespace.files[0] or len(namespace.files) > 1)


def _show_summary(traces: Iterator[TraceTree], namespace: argparse.Namespace) -> None:
    summary = Summary()
    for trace in traces:
        summary.add(trace)
    models = summary.models()
    if namespace.json:
        for model in models:
            print(json.dumps(summary_document(model)))
    elif models:
        print("\n".join(summary_lines(models, _style(namespace))))
    elif summary.traces:
        _tell("no moments are noted in these traces: the level TIMESTAMPS was off")
    if summary.left_out:
        _tell(f"{summary.left_out} requests of further models are left out")


def _style(namespace: argparse.Namespace) -> Style:
    terminal = sys.stdout.isatty()
    try:
        "█━▏◆…·".encode(sys.stdout.encoding or "ascii")
        ascii_only = False
    except (UnicodeEncodeError, LookupError):
        ascii_only = True
    columns = namespace.width or (shutil.get_terminal_size().columns if terminal else _IN_A_PIPE)
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Style(
        columns=min(max(columns, NARROWEST), _WIDEST),
        colours=terminal and not plain,
        ascii_only=ascii_only,
        tensors=namespace.tensors,
    )


class _Reading:
    """The files, one after the other. What is wrong with one is told when it has been read so far."""

    def __init__(self, names: list[str]):
        self._names = names
        self.unreadable = self.broken = False

    def traces(self) -> Iterator[TraceTree]:
        """Of all files."""
        for name in self._names:
            for path in _files(name):
                yield from self._file(path)

    def _file(self, name: str) -> Iterator[TraceTree]:
        try:
            with _opened(name) as file:
                yield from self._read(file, name)
        except OSError as error:
            self.unreadable = True
            _fail(name, error.strerror or str(error))

    def _read(self, file: BinaryIO, name: str) -> Iterator[TraceTree]:
        skipped = Skipped()
        found = False
        try:
            for trace in assemble(read_entries(iter(lambda: file.read(_PIECE), b"")), skipped, file=name):
                found = True
                yield trace
        except BrokenFileError as error:
            if found:
                self.broken = True
                _fail(name, f"{error}. What stands before that is shown")
            else:
                self.unreadable = True
                _fail(name, f"{error}. No trace stands before that")
            return
        if not found:
            self.unreadable = True
            _fail(name, "no trace is in it: expected what --trace-config=triton,file=FILE makes a server write")
        elif skipped.entries or skipped.stamps:
            _tell(f"{_told(name)}: {skipped.entries} entries and {skipped.stamps} moments in it are none, and left out")


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file


def _files(name: str) -> list[str]:
    """The file, or FILE.0, FILE.1, ... in the order in which they were written where it is not there itself."""
    path = Path(name)
    try:
        if name == "-" or path.exists():
            return [name]
        numbered = re.compile(re.escape(path.name) + r"\.([0-9]{1,9})")
        found = [(int(match[1]), one) for one in path.parent.iterdir() if (match := numbered.fullmatch(one.name))]
    except OSError:
        return [name]
    return [str(one) for _, one in sorted(found)] or [name]


def _told(name: str) -> str:
    return "standard input" if name == "-" else shown(name)


def _traces(count: int) -> str:
    return "1 trace" if count == 1 else f"{count} traces"


def _fail(name: str, what: str) -> None:
    sys.stdout.flush()
    print(f"error: {_told(name)}: {what}", file=sys.stderr)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _refuse(text: str, what: str) -> NoReturn:
    raise argparse.ArgumentTypeError(f"'{text}' is not {what}")


def _number(what: str, least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) < least:
            _refuse(text, what)
        return int(text)

    return number


_whole = _number("a whole number", 0)
_count = _number("a whole number of at least 1", 1)
_columns = _number(f"a whole number of at least {NARROWEST}", NARROWEST)
