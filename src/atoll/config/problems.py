"""What is wrong with a configuration: one record for each finding, and many of them as one error."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from atoll.errors import AtollError, ConfigError


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `path` is the key, such as input[0].dims; `message` says what is wrong, in the real server's words
    where it has any; `found` and `expected` are the two sides, `remedy` what to do. A `warning` does not keep the
    model from being served. `file`, `line` and `column` (from 1; 0 where unknown) say where it was written."""

    path: str
    message: str
    found: str
    expected: str
    remedy: str
    warning: bool = False
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        sides = "; ".join(text for text in (_side("found", self.found), _side("expected", self.expected)) if text)
        message = self.message.removesuffix(".")
        where = ":".join(str(one) for one in (self.file, self.line, self.column) if one)
        # some of the real server's texts begin with the key themselves
        path = "" if message.startswith((f"{self.path}: ", f"({self.path})")) else self.path
        parts = [": ".join(one for one in (where, path, message) if one)]
        if sides:
            parts.append(sides[0].upper() + sides[1:])
        if self.remedy:
            parts.append(self.remedy)
        return printable(". ".join(parts))


def printable(text: str) -> str:
    """The text with what cannot be shown written as escapes: a log stays readable whatever a file holds."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def _side(label: str, text: str) -> str:
    return f"{label} {text}" if text else ""


def problems_of(error: AtollError) -> tuple[Problem, ...]:
    """The single findings of an error; one with its whole text where it has none."""
    problems: tuple[Problem, ...] = getattr(error, "problems", ())
    return problems or (Problem("", str(error), "", "", ""),)


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """Those that keep the model from being served."""
    return [one for one in problems if not one.warning]


def config_error(problems: Sequence[Problem], source: str) -> ConfigError:
    """All of them as one error; `source` says where they are, such as a file or "model 'resnet'".

    A single problem that begins with the place in that file does not name the file again.
    """
    if len(problems) == 1:
        text = str(problems[0])
        return ConfigError(text if problems[0].file == source else f"{source}: {text}", problems)
    lines = "\n".join(f"  {number}. {one}" for number, one in enumerate(problems, 1))
    return ConfigError(f"{source}: {len(problems)} problems\n{lines}", problems)


_OTHER_NAMES = {
    "TYPE_FLOAT": "TYPE_FP32",
    "TYPE_FLOAT32": "TYPE_FP32",
    "TYPE_FLOAT16": "TYPE_FP16",
    "TYPE_HALF": "TYPE_FP16",
    "TYPE_FLOAT64": "TYPE_FP64",
    "TYPE_DOUBLE": "TYPE_FP64",
    "TYPE_BFLOAT16": "TYPE_BF16",
    "TYPE_BYTES": "TYPE_STRING",
    "TYPE_INT": "TYPE_INT32",
    "TYPE_LONG": "TYPE_INT64",
    "TYPE_BOOLEAN": "TYPE_BOOL",
    "TYPE_BYTE": "TYPE_UINT8",
}  # what people write who know the types from elsewhere


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """The known name that a wrong one most likely stands for: another spelling, case or usual name of it."""
    known = list(known)
    by_folded = {one.lower(): one for one in known}
    folded = name.lower()
    for full in (folded, f"type_{folded}", f"kind_{folded}", f"format_{folded}"):
        other = _OTHER_NAMES.get(full.upper())
        if other in known:
            return other
        if full in by_folded:
            return by_folded[full]
    close = get_close_matches(folded, by_folded, n=1, cutoff=0.7)
    return by_folded[close[0]] if close else None
