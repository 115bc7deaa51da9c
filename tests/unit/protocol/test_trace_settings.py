"""Trace settings on the wire: whatever comes is settings, or an error that says so."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.observability.tracing.settings import TraceSettings, read_update, updated
from atoll.protocol.schema import message_class
from atoll.protocol.trace_settings import message_fields, wanted_from_json, wanted_from_message

NAMES = st.sampled_from(["trace_level", "trace_rate", "trace_count", "log_frequency", "trace_mode", "other"])
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text() | st.integers()))
TEXTS = st.one_of(
    st.text(), st.integers().map(str), st.sampled_from(["OFF", "TIMESTAMPS", "TENSORS", "-1", "9" * 5000])
)


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_an_error(body: bytes) -> None:
    known = {"trace_file", "trace_level", "trace_rate", "trace_count", "log_frequency"}
    with contextlib.suppress(InternalError):
        assert set(wanted_from_json(body)) <= known


@given(st.dictionaries(NAMES, VALUES))
def test_any_document_is_settings_or_an_error(document: dict[str, Any]) -> None:
    try:
        wanted = wanted_from_json(json.dumps(document).encode())
    except InternalError:
        return
    assert all(value is None or all(isinstance(one, str) for one in value) for value in wanted.values())


@given(st.dictionaries(NAMES, st.none() | st.lists(TEXTS, min_size=1, max_size=3)), st.booleans())
def test_any_texts_make_settings_in_their_ranges_or_an_error(wanted: dict[str, Any], with_file: bool) -> None:
    before = TraceSettings(file="/tmp/t.json" if with_file else "")
    try:
        settings, specified = updated(before, frozenset(), before, read_update(wanted))
    except AtollError:
        return
    assert 0 <= settings.rate < 2**32
    assert -1 <= settings.count < 2**31
    assert 0 <= settings.log_frequency < 2**32
    assert set(settings.levels) <= {"TIMESTAMPS", "TENSORS"}
    assert with_file or not settings.levels
    assert specified <= {"levels", "rate", "count", "log_frequency"}
    assert settings.document() == {**before.document(), **settings.document()}


@pytest.mark.parametrize("text", ["9" * 10_000, "-" + "9" * 30])
def test_numbers_of_any_length_are_out_of_range(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="value is out of range"):
        read_update({"trace_rate": [text]})


def test_messages_there_and_back() -> None:
    document = TraceSettings(("TIMESTAMPS", "TENSORS"), file="f").document()
    message = message_class("inference.TraceSettingRequest")(**message_fields(document))
    assert wanted_from_message(message) == {
        name: value if isinstance(value, list) else [value] for name, value in document.items() if value
    }
    message.settings["trace_rate"].Clear()
    assert wanted_from_message(message)["trace_rate"] is None
