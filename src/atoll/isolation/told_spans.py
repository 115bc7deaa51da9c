"""What a model in a process of its own says that it did for a request: checked, since the process may be out of its
mind. Pure.
"""

from collections.abc import Mapping
from typing import Any

from atoll.isolation.wire import WireError
from atoll.model_spans import (
    MAX_ATTRIBUTES,
    MAX_ERROR,
    MAX_INTEGER,
    MAX_KEY,
    MAX_NAME,
    MAX_SPANS,
    MAX_TEXT,
    MAX_VALUE,
    MIN_INTEGER,
    Attribute,
    whole_text,
)
from atoll.request import InferenceRequest, ModelSpan


def note_spans(request: InferenceRequest, facts: Mapping[str, Any]) -> None:
    """What came with the end of a request's execution goes to its trace. Raises WireError."""
    if "spans" in facts and request.trace is not None:
        request.trace.note(parse_spans(facts["spans"]))


def parse_spans(told: object) -> list[ModelSpan]:
    """The spans of an answer, from what JSON held. Raises WireError for anything that a child of ours does not send."""
    if type(told) is not list or len(told) > MAX_SPANS + 1:  # one says how many were left out
        raise WireError(f"what should be at most {MAX_SPANS} spans is not")
    spans = [_parse_span(index, row) for index, row in enumerate(told)]
    if sum(span.characters for span in spans) > MAX_TEXT:
        raise WireError(f"the spans of a request have more than {MAX_TEXT} characters")
    return spans


def _parse_span(index: int, row: object) -> ModelSpan:
    if type(row) is not list or len(row) != 6:
        raise WireError("a span makes no sense")
    name, start_ns, end_ns, parent, attributes, error = row
    if type(start_ns) is not int or type(end_ns) is not int or not 0 <= start_ns <= end_ns <= MAX_INTEGER:
        raise WireError("a span ends before it starts, or has no times")
    if type(parent) is not int or not -1 <= parent < index:
        raise WireError("a span's parent is none of those before it")
    if type(attributes) is not dict or len(attributes) > MAX_ATTRIBUTES:
        raise WireError(f"what should be at most {MAX_ATTRIBUTES} attributes of a span is not")
    checked = {_text(key, MAX_KEY): _value(value) for key, value in attributes.items()}
    return ModelSpan(_text(name, MAX_NAME), start_ns, end_ns, parent, checked, _text(error, MAX_ERROR))


def _text(told: object, most: int) -> str:
    if type(told) is not str or len(told) > most:
        raise WireError(f"what should be a text of at most {most} characters in a span is not")
    return whole_text(told, most)


def _value(told: object) -> Attribute:
    if type(told) is str:
        return _text(told, MAX_VALUE)
    if type(told) is bool or type(told) is float:
        return told
    if type(told) is int and MIN_INTEGER <= told <= MAX_INTEGER:
        return told
    raise WireError("the value of a span's attribute makes no sense")
