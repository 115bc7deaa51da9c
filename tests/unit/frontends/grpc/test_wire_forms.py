"""Metadata, timeouts, status texts and limits as they are on the wire."""

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.frontends.grpc.metadata import checked, encode_text, from_wire, parse_timeout, to_wire
from atoll.frontends.grpc.nghttp2.limits import limits_of
from atoll.frontends.grpc.transport import TransportOptions

names = st.from_regex(r"[a-z0-9_.\-]{1,20}", fullmatch=True).filter(lambda name: not name.startswith("grpc-"))
texts = st.tuples(names.filter(lambda name: not name.endswith("-bin")), st.from_regex(r"[\x20-\x7e]*", fullmatch=True))
blobs = st.tuples(names.map(lambda name: name + "-bin"), st.binary())


@given(st.lists(st.one_of(texts, blobs)))
def test_metadata_survives_the_wire(items):
    assert from_wire(to_wire(checked(items))) == items


@pytest.mark.parametrize(
    ("raw", "values"),
    [(b"AQI=", [b"\x01\x02"]), (b"AQI", [b"\x01\x02"]), (b"AQI,Aw==", [b"\x01\x02", b"\x03"]),
     (b"AQI, Aw", [b"\x01\x02", b"\x03"]),
     (b"", [b""]), (b"!!", []), (b"A", [])],
)  # fmt: skip
def test_binary_values_come_padded_or_not_joined_or_broken(raw, values):
    assert from_wire([(b"x-bin", raw)]) == [("x-bin", value) for value in values]


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_no_header_breaks_the_reader(headers):
    for name, value in from_wire(headers):
        assert isinstance(value, bytes) == name.endswith("-bin")


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [(b"1H", 3_600 * 10**9), (b"2M", 120 * 10**9), (b"3S", 3 * 10**9), (b"4m", 4 * 10**6), (b"5u", 5_000), (b"6n", 6),
     (b"99999999H", 99999999 * 3_600 * 10**9), (b"0n", 0)],
)  # fmt: skip
def test_timeouts_have_six_units(value, nanoseconds):
    assert parse_timeout(value) == nanoseconds


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1s", b"-1S", b"1.5S", b"123456789S", b" 1S", b"1S\n"])
def test_a_malformed_timeout_is_none(value):
    assert parse_timeout(value) is None


@given(st.text(max_size=300))
def test_a_status_text_is_printable_and_reads_back(text):
    encoded = encode_text(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    if not any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        assert urllib.parse.unquote(encoded.decode()) == text


def test_a_long_status_text_is_cut_where_it_still_reads():
    encoded = encode_text("é" * 10_000)
    assert len(encoded) <= 6 * 1024
    assert set(urllib.parse.unquote(encoded.decode(), errors="strict")) == {"é"}


def test_limits_are_filled_in_from_the_memory():
    limits = limits_of(TransportOptions(), memory_bytes=8 << 30)
    assert (limits.buffered, limits.connection_buffered) == (2 << 30, 1 << 30)
    assert limits_of(TransportOptions(), memory_bytes=1 << 20).buffered == 256 << 20
    chosen = limits_of(TransportOptions(max_buffered_bytes=100, max_connection_buffered_bytes=200))
    assert (chosen.buffered, chosen.connection_buffered) == (100, 100)
