"""The spans that a model adds to the traces of its requests, as the model sees them.

What is wrong in a call is raised whether or not the request is traced, so that a model's first test finds it. Texts
that are too long, which may depend on what a client sends, are shortened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from atoll.model_spans import (
    MAX_ERROR,
    MAX_INTEGER,
    MAX_KEY,
    MAX_NAME,
    MAX_VALUE,
    MIN_INTEGER,
    Attribute,
    whole_text,
)

if TYPE_CHECKING:
    from types import TracebackType

    from atoll.backends.python.utils.span_recorder import OpenSpan, SpanRecorder


class NoSpan:
    """What stands in for a span where the request is not traced: it notes nothing."""

    __slots__ = ()

    def set_attribute(self, name: str, value: Attribute) -> None:
        """As `Span.set_attribute`, for nobody."""
        if not _is_plain(name, value):
            _checked_attribute(name, value)

    def __enter__(self) -> NoSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


NO_SPAN = NoSpan()
_PLAIN = frozenset((bool, float, str))


class Span:
    """A stretch of a model's work: the block of a `with`. To be entered once; doing so again notes nothing."""

    __slots__ = ("_attributes", "_entered", "_name", "_open", "_recorder")

    def __init__(self, recorder: SpanRecorder, name: str, attributes: dict[str, Attribute]):
        self._recorder = recorder
        self._name = name
        self._attributes = attributes
        self._entered = 0
        self._open: OpenSpan | None = None

    def set_attribute(self, name: str, value: Attribute) -> None:
        """Note a fact: a bool, an integer of 64 bits, a float or a text. A name's last value counts. Raises TypeError
        and ValueError for anything else.
        """
        name, value = _checked_attribute(name, value)
        if self._open is not None:
            self._recorder.note(self._open, name, value)
        elif not self._entered:
            self._attributes[name] = value

    def __enter__(self) -> Span:
        self._entered += 1
        if self._entered == 1:
            self._open = self._recorder.begin(self._name, self._attributes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open is None or self._open.end_ns:
            return
        expected = error is None or isinstance(error, GeneratorExit)  # which only ends a generator that is not used up
        self._recorder.end(self._open, "" if expected else _described(error))


def make_span(recorder: SpanRecorder | None, name: str, attributes: Mapping[str, Attribute] | None) -> Span | NoSpan:
    """A span of the request with that recorder; one that notes nothing where there is none."""
    if recorder is None or recorder.closed:
        if name.__class__ is not str or not name:
            _checked_name(name, "a span's name")
        if attributes is not None:
            for key, value in _items(attributes):
                if not _is_plain(key, value):
                    _checked_attribute(key, value)
        return NO_SPAN
    name = whole_text(_checked_name(name, "a span's name"), MAX_NAME)
    checked = {} if attributes is None else dict([_checked_attribute(*item) for item in _items(attributes)])
    return Span(recorder, name, checked)


def _items(attributes: Any) -> Iterable[tuple[Any, Any]]:
    if attributes.__class__ is not dict and not isinstance(attributes, Mapping):
        raise TypeError(f"a span's attributes must be a dict, got {type(attributes).__name__}")
    return attributes.items()


def _is_plain(name: Any, value: Any) -> bool:
    """Whether it certainly is right; what else is, `_checked_attribute` knows."""
    if name.__class__ is not str or not name:
        return False
    kind = value.__class__
    return kind in _PLAIN or (kind is int and MIN_INTEGER <= value <= MAX_INTEGER)


def _checked_attribute(name: Any, value: Any) -> tuple[str, Attribute]:
    """As they are kept: texts shortened, numbers of numpy as Python's."""
    name = whole_text(_checked_name(name, "the name of a span's attribute"), MAX_KEY)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return name, whole_text(str(value), MAX_VALUE)
    if isinstance(value, bool):
        return name, value
    if isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise ValueError(f"a span's attribute '{name}' is an integer of more than 64 bits: give its text")
        return name, int(value)
    if isinstance(value, float):
        return name, float(value)
    raise TypeError(f"a span's attribute '{name}' must be a bool, int, float or str, got {type(value).__name__}")


def _checked_name(name: Any, what: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a str, got {type(name).__name__}")
    if not name:
        raise ValueError(f"{what} must not be empty")
    return str(name)


def _described(error: BaseException | None) -> str:
    """What was raised, whatever the exception's own code does."""
    try:
        text = str(error)
    except BaseException:
        text = ""
    name = type(error).__name__
    return whole_text(f"{name}: {text}" if text else name, MAX_ERROR)
