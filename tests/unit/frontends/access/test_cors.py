"""Cross-origin requests: what browsers are told, and what may be told to nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InvalidArgumentError
from atoll.frontends.access.cors import Cors, cors_from_values

DEFAULTS = {"cors_allow_headers": "", "cors_allow_methods": "GET,POST", "cors_max_age": 600}
PAGE = "https://page.example"


def made(*origins: str, **changes: object) -> Cors:
    cors = cors_from_values({**DEFAULTS, "cors_allow_origin": list(origins), **changes}, ["x-secret"])
    assert cors is not None
    return cors


def lines(text: bytes) -> dict[str, str]:
    pairs = (line.split(": ", 1) for line in text.decode().split("\r\n") if line)
    return {name.lower(): value for name, value in pairs}


def test_without_an_origin_there_is_none() -> None:
    assert cors_from_values({**DEFAULTS, "cors_allow_origin": []}) is None


def test_a_named_origin_is_told_so_and_caches_keep_it_apart() -> None:
    told = lines(made(PAGE, "http://localhost:3000").answer_headers(PAGE))
    assert told["access-control-allow-origin"] == PAGE
    assert told["vary"] == "Origin"
    assert "Inference-Header-Content-Length" in told["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in told


@pytest.mark.parametrize("origin", [None, "https://other.example", "https://page.example:8443", "http://page.example"])
def test_any_other_is_told_nothing(origin: str | None) -> None:
    assert lines(made(PAGE).answer_headers(origin)) == {"vary": "Origin"}


@pytest.mark.parametrize(
    "origin", ["null", "https://page.example.evil", "https://PAGE.example/", "https://page.example "]
)
def test_an_origin_must_be_the_same_byte_for_byte(origin: str) -> None:
    assert not made(PAGE).allows(origin)


def test_a_star_is_for_all_but_names_nobody() -> None:
    cors = made("*", PAGE)
    told = lines(cors.answer_headers("https://whoever.example"))
    assert told["access-control-allow-origin"] == "*"
    assert "vary" not in told
    assert not cors.names("https://whoever.example")
    assert cors.names(PAGE)
    assert cors.answer_headers(None) == b""


def test_a_preflight_says_what_may_be_sent() -> None:
    answer = made(PAGE).preflight(PAGE, ["POST", "DELETE"])
    told = lines(answer.headers)
    assert (answer.status, answer.parts) == (200, [])
    assert told["access-control-allow-methods"] == "POST"
    allowed = told["access-control-allow-headers"].split(", ")
    assert {"authorization", "x-api-key", "content-type", "inference-header-content-length", "x-secret"} <= set(allowed)
    assert told["access-control-max-age"] == "600"


def test_the_options_say_what_may_be_sent() -> None:
    cors = made(PAGE, cors_allow_headers="X-One, x-two", cors_allow_methods="GET", cors_max_age=0)
    told = lines(cors.preflight(PAGE, ["GET", "POST"]).headers)
    assert told["access-control-allow-methods"] == "GET"
    assert told["access-control-allow-headers"] == "X-One, x-two"
    assert told["access-control-max-age"] == "0"


def test_a_preflight_of_another_page_is_refused() -> None:
    answer = made(PAGE).preflight("https://other.example", ["GET"])
    assert answer.status == 403


@pytest.mark.parametrize(
    "origin",
    [
        *("page.example", "https://page.example/", "https://page.example/path", "https://", "null", ""),
        *("https://*.example", "*.example", "https://a\r\nX: y", "https://user@page.example", "https://page.example:p"),
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(InvalidArgumentError, match="--cors-allow-origin"):
        made(origin)


@pytest.mark.parametrize("option", ["cors_allow_headers", "cors_allow_methods"])
@pytest.mark.parametrize("text", ["a b", "a:b", "a\r\nb", "ä"])
def test_what_is_no_name_is_refused(option: str, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is no name"):
        made(PAGE, **{option: text})


@given(st.text(max_size=50))
def test_nothing_of_a_request_is_repeated(origin: str) -> None:
    for cors in (made(PAGE), made("*")):
        told = cors.answer_headers(origin)
        assert told in (cors.answer_headers(None), cors.answer_headers(PAGE))
