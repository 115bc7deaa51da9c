"""What the options say about access, put together."""

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.unit.frontends.access.key_files import key_text, put

from atoll.errors import InvalidArgumentError
from atoll.frontends.access.control import AccessControl
from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.options import OPTIONS

DEFAULTS = {one.field: one.default for one in OPTIONS}
SERVER: Any = None


@pytest.fixture
def file(tmp_path: Path) -> str:
    put(tmp_path / "keys", key_text({"name": "a", "key": "key-a"}))
    return str(tmp_path / "keys")


def made(**changes: Any) -> AccessControl:
    access = AccessControl.from_values({**DEFAULTS, **changes})
    assert access is not None
    return access


def test_by_default_nothing_is_asked() -> None:
    assert AccessControl.from_values(DEFAULTS) is None
    assert AccessControl.from_values({}) is None


@pytest.mark.parametrize(
    ("changes", "gates"),
    [
        ({"http_restricted_api": ["health:k=v"]}, (True, False, False)),
        ({"grpc_restricted_protocol": ["health:k=v"]}, (False, False, True)),
        ({"cors_allow_origin": ["*"]}, (True, True, False)),
    ],
)
def test_only_what_is_asked_for_has_a_gate(changes: dict[str, Any], gates: tuple[bool, ...]) -> None:
    access = made(**changes)
    assert (access.http is not None, access.hosted is not None, access.grpc is not None) == gates
    assert not access.asks_for_key(Api.INFERENCE)


def test_keys_are_asked_for_everywhere_but_where_exempt(file: str) -> None:
    access = made(api_key_file=file)
    assert access.http is not None
    assert access.hosted is not None
    assert access.grpc is not None
    assert [one for one in Api if not access.asks_for_key(one)] == [Api.HEALTH, Api.DOCUMENTATION]
    strict = made(api_key_file=file, api_key_exempt="")
    assert all(strict.asks_for_key(one) for one in Api)
    lax = made(api_key_file=file, api_key_exempt=" metrics , trace ")
    assert [one for one in Api if not lax.asks_for_key(one)] == [Api.TRACE, Api.METRICS]


def test_headers_that_restrict_may_be_sent_by_pages() -> None:
    access = made(http_restricted_api=["health:X-Probe=v"], cors_allow_origin=["*"])
    assert access.http is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"api_key_exempt": "helth"}, "there is no API 'helth'"),
        ({"api_key_file": "/nowhere"}, "cannot be read"),
        ({"cors_allow_origin": ["page"]}, "--cors-allow-origin=page"),
        ({"http_restricted_api": ["health"]}, "--http-restricted-api"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        made(**changes)


def test_models_do_not_see_keys(file: str) -> None:
    headers = [("Authorization", "Bearer key-a"), ("X-Api-Key", "key-a"), ("X-User", "ada")]
    values = {"http_header_forward_pattern": ".*", "grpc_header_forward_pattern": ".*"}
    for changes, expected in (({}, {"Authorization", "X-Api-Key", "X-User"}), ({"api_key_file": file}, {"X-User"})):
        context = FrontendContext.from_values(SERVER, {**values, **changes})
        for reader in (context.http_headers, context.grpc_headers):
            carried = reader.read(headers)
            assert carried is not None
            assert set(carried.parameters) == expected
        context.close()


def test_a_context_that_cannot_be_leaves_no_thread(file: str) -> None:
    with pytest.raises(InvalidArgumentError):
        FrontendContext.from_values(SERVER, {"api_key_file": file, "http_header_forward_pattern": "("})
    assert not any(one.name == "api keys" for one in threading.enumerate())
