"""When a step of an ensemble is skipped: the keys step[N].if and step[N].else of the ensemble's `parameters`.

Ours, in a place that Triton reads and passes over, so that the model can be loaded there too (where every step runs).

    condition  = both { "or" both }
    both       = one { "and" one }
    one        = "not" one | "(" condition ")" | "given" "(" source ")" | subject [ operator value ]
    subject    = name | ("any" | "all" | "size") "(" name ")" | "shape" "(" name ")" "[" number "]" | parameter
    parameter  = "parameter" "(" name ")"
    source     = name | parameter
    operator   = "==" | "!=" | "<" | "<=" | ">" | ">="
    value      = number | text | "true" | "false"

A subject alone means that it is true. Names with other characters than letters, digits and _ . - / : stand in quotes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn, TypeAlias

from atoll.config.model_config import ModelConfig

MOST_NESTED = 32  # parentheses and negations inside each other
LONGEST = 4096  # characters of a condition


class Subject(Enum):
    """What of a tensor, or of the request, is looked at."""

    ELEMENT = "element"  # the only one of the tensor
    ANY = "any"
    ALL = "all"
    SIZE = "size"  # how many elements it has
    SHAPE = "shape"  # one of its dimensions
    PARAMETER = "parameter"  # of the request


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name` is a tensor's or a parameter's; `place` the number of the dimension."""

    subject: Subject
    name: str
    operator: str
    value: bool | int | float | str
    place: int = 0


@dataclass(frozen=True, slots=True)
class Given:
    """Whether the tensor or the parameter is there at all."""

    name: str
    parameter: bool


@dataclass(frozen=True, slots=True)
class Not:
    inner: "Condition"


@dataclass(frozen=True, slots=True)
class Joined:
    """All of them (`every`), or at least one."""

    parts: tuple["Condition", ...]
    every: bool


Condition: TypeAlias = Comparison | Given | Not | Joined


@dataclass(frozen=True, slots=True)
class StepCondition:
    """Of one step. `condition` None: it is skipped only if one is that makes what it needs. `otherwise`: the ensemble's
    tensors that it would write, each with the one that takes its place when the step is skipped.
    """

    condition: Condition | None
    otherwise: Mapping[str, str]


class ConditionError(ValueError):
    """What is wrong with the text, and where."""


_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<word>[A-Za-z_][\w./:-]*)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<mark>==|!=|<=|>=|[<>()\[\]=,]))""",
    re.VERBOSE,
)
_KINDS = {one.value: one for one in Subject if one is not Subject.ELEMENT}
_OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
_RESERVED = {"and", "or", "not", "given", "true", "false"}


class _Reader:
    """The text, token by token: pairs of a kind and what it says."""

    def __init__(self, text: str):
        if len(text) > LONGEST:
            raise ConditionError(f"it is longer than {LONGEST} characters")
        self._text = text
        self._depth = 0
        self._tokens: list[tuple[str, str, int]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None:
                start = at + len(text[at:]) - len(text[at:].lstrip())
                raise ConditionError(f"unexpected {text[start]!r} at character {start + 1}")
            assert found.lastgroup is not None
            self._tokens.append((found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            at = found.end()
        self._at = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at][:2] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _expected(self, what: str) -> NoReturn:
        """The token that was taken last is another."""
        place = self._at - 1
        if place >= len(self._tokens):
            raise ConditionError(f"it ends where {what} is expected")
        _, found, at = self._tokens[place]
        raise ConditionError(f"expected {what} at character {at + 1}, found {found!r}")

    def _mark(self, mark: str) -> None:
        if self._next() != ("mark", mark):
            self._expected(repr(mark))

    def _takes(self, kind: str, text: str) -> bool:
        if self._peek() == (kind, text):
            self._at += 1
            return True
        return False

    def done(self) -> None:
        if self._next()[0] != "end":
            self._expected("the end")

    def name(self) -> str:
        kind, text = self._next()
        if kind == "text":
            return _unquoted(text)
        if kind != "word":
            self._expected("a name")
        return text

    # ---- a condition

    def condition(self) -> Condition:
        return self._list("or", every=False)

    def _list(self, word: str, *, every: bool) -> Condition:
        parts = [self._one() if every else self._list("and", every=True)]
        while self._takes("word", word):
            parts.append(self._one() if every else self._list("and", every=True))
        return parts[0] if len(parts) == 1 else Joined(tuple(parts), every)

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise ConditionError(f"more than {MOST_NESTED} conditions inside each other")
        try:
            if self._takes("word", "not"):
                return Not(self._one())
            if self._takes("mark", "("):
                inner = self.condition()
                self._mark(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Condition:
        if self._called("given"):
            of_request = self._called("parameter")
            name = self.name()
            if of_request:
                self._mark(")")
            self._mark(")")
            return Given(name, of_request)
        subject, name, place = self._subject()
        kind, operator = self._peek()
        value: bool | int | float | str = True
        if kind == "mark" and operator in _OPERATORS:
            self._at += 1
            value = self._value(operator)
        else:
            operator = "=="
        if subject in (Subject.SIZE, Subject.SHAPE) and isinstance(value, (bool, str)):
            raise ConditionError(f"{subject.value} is a number, and needs one to be compared with")
        return Comparison(subject, name, operator, value, place)

    def _called(self, word: str) -> bool:
        """Whether this word and a parenthesis come next, which are then taken."""
        if self._peek() != ("word", word) or self._tokens[self._at + 1 : self._at + 2] == []:
            return False
        if self._tokens[self._at + 1][:2] != ("mark", "("):
            return False
        self._at += 2
        return True

    def _subject(self) -> tuple[Subject, str, int]:
        for word, subject in _KINDS.items():
            if self._called(word):
                name, place = self.name(), 0
                self._mark(")")
                if subject is Subject.SHAPE:
                    self._mark("[")
                    kind, text = self._next()
                    if kind != "number" or not text.lstrip("-").isdigit():
                        self._expected("the number of a dimension")
                    place = int(text)
                    self._mark("]")
                return subject, name, place
        if self._peek()[0] == "word" and self._peek()[1] in _RESERVED:
            self._at += 1
            self._expected("a tensor's name")
        return Subject.ELEMENT, self.name(), 0

    def _value(self, operator: str) -> bool | int | float | str:
        kind, text = self._next()
        if kind == "number":
            whole = int(text) if text.lstrip("+-").isdigit() else None
            # one that no tensor holds is compared as the nearest number of 64 bits, or an infinite one
            return float(text) if whole is None or not -1 << 63 <= whole < 1 << 64 else whole
        if kind == "word" and text in ("true", "false"):
            value: bool | str = text == "true"
        elif kind == "text":
            value = _unquoted(text)
        else:
            self._expected("a number, a text in quotes, true or false")
        if operator not in ("==", "!="):
            raise ConditionError(f"'{operator}' compares numbers; a text or a truth value is == or != another")
        return value

    # ---- what takes the place of a skipped step's outputs

    def assignments(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while True:
            name = self.name()
            self._mark("=")
            if name in found:
                raise ConditionError(f"'{name}' is given twice")
            found[name] = self.name()
            if not self._takes("mark", ","):
                return found


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def parse_condition(text: str) -> Condition:
    """Raises ConditionError."""
    reader = _Reader(text)
    condition = reader.condition()
    reader.done()
    return condition


def parse_otherwise(text: str) -> dict[str, str]:
    """Raises ConditionError."""
    reader = _Reader(text)
    found = reader.assignments()
    reader.done()
    return found


def tensors_of(condition: Condition | None) -> Iterator[str]:
    """The tensors that it looks at; one may come twice."""
    if isinstance(condition, Joined):
        for part in condition.parts:
            yield from tensors_of(part)
    elif isinstance(condition, Not):
        yield from tensors_of(condition.inner)
    elif isinstance(condition, Given):
        if not condition.parameter:
            yield condition.name
    elif condition is not None and condition.subject is not Subject.PARAMETER:
        yield condition.name


KEYS = ("step[N].if", "step[N].else")  # N counts from 0
KEY = re.compile(r"step\[(0|[1-9]\d{0,5})\]\.(if|else)")


def step_conditions(config: ModelConfig) -> dict[int, StepCondition]:
    """Of a valid configuration: those of its steps that can be skipped for reasons of their own, or say what then."""
    found: dict[int, StepCondition] = {}
    for key in config.parameters:
        match = KEY.fullmatch(key)
        if match and int(match[1]) not in found:
            when, otherwise = (_text(config, name.replace("N", match[1])) for name in KEYS)
            found[int(match[1])] = StepCondition(
                parse_condition(when) if when else None, parse_otherwise(otherwise) if otherwise else {}
            )
    return found


def _text(config: ModelConfig, key: str) -> str:
    found = config.parameters.get(key)
    return "" if found is None else found.string_value
