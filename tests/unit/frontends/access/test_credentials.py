"""The API key in headers: where it may stand, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import UnauthenticatedError
from atoll.frontends.access.credentials import token_of

KEY = "atoll_-._~+/AZaz09="


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", KEY)],
        [("authorization", f"Bearer {KEY}")],
        [("authorization", f"bearer   {KEY} ")],
        [("authorization", f"BEARER {KEY}")],
        [("x-api-key", f" {KEY} ")],
        [("x-api-key", KEY), ("authorization", f"Bearer {KEY}")],
        [("x-api-key", KEY), ("x-api-key", KEY)],
        [("authorization", "Basic dXNlcjpwYXNz"), ("x-api-key", KEY)],
        [("cookie", "x-api-key=other"), ("x-api-key", KEY)],
    ],
)
def test_a_key_is_found(headers: list[tuple[str, str]]) -> None:
    assert token_of(headers) == KEY


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ([], "an API key is needed"),
        ([("authorization", "Basic dXNlcjpwYXNz")], "an API key is needed"),
        ([("authorization", KEY)], "an API key is needed"),
        ([("authorization", "Bearer")], "is not one"),
        ([("authorization", f"Bearer {KEY} {KEY}")], "is not one"),
        ([("authorization", f"Bearer {KEY}, Bearer {KEY}")], "is not one"),
        ([("x-api-key", "")], "is not one"),
        ([("x-api-key", "k" * 513)], "is not one"),
        ([("x-api-key", "ä")], "is not one"),
        ([("x-api-key", "\udcff")], "is not one"),
        ([("x-api-key", "a\r\nb")], "is not one"),
        ([("x-api-key", b"bytes")], "is not one"),
        ([("x-api-key", "one"), ("x-api-key", "other")], "two different"),
        ([("x-api-key", "one"), ("authorization", "Bearer other")], "two different"),
        ([("authorization", "Bearer one"), ("authorization", "Bearer other")], "two different"),
    ],
)
def test_what_is_no_key_is_refused(headers: list[tuple[str, str | bytes]], text: str) -> None:
    with pytest.raises(UnauthenticatedError, match=text):
        token_of(headers)


@given(st.text(min_size=1, max_size=100))
def test_no_refusal_repeats_what_was_sent(value: str) -> None:
    try:
        found = token_of([("x-api-key", f"SECRET{value}")])
    except UnauthenticatedError as error:
        assert "SECRET" not in str(error)
    else:
        assert found == f"SECRET{value}".strip()
