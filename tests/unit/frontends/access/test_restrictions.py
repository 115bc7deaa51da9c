"""What the options of restricted APIs mean; which values are wrong is compared with the real server elsewhere."""

import logging

import pytest

from atoll.errors import InvalidArgumentError
from atoll.frontends.access.restrictions import GRPC_PREFIX, Restriction, grpc_restrictions, http_restrictions
from atoll.frontends.apis import Api


def test_each_api_has_the_header_of_its_group() -> None:
    found = http_restrictions(["health,metadata:A=1", "inference:b=2=3:4"])
    assert found == {
        Api.HEALTH: Restriction("A", b"1"),
        Api.METADATA: Restriction("A", b"1"),
        Api.INFERENCE: Restriction("b", b"2=3:4"),
    }
    assert found[Api.HEALTH].name == "a"


def test_grpcs_have_a_prefix() -> None:
    found = grpc_restrictions(["trace:Key=v"])[Api.TRACE]
    assert (found.header, found.name) == (f"{GRPC_PREFIX}Key", "triton-grpc-protocol-key")


@pytest.mark.parametrize(
    ("value", "admitted"), [(b"v", True), (None, False), (b"", False), (b"V", False), (b"vv", False), (b"\xff", False)]
)
def test_only_the_whole_value_is_admitted(value: bytes | None, admitted: bool) -> None:
    assert Restriction("k", b"v").admits(value) is admitted


@pytest.mark.parametrize("api", [Api.METRICS, Api.DOCUMENTATION])
def test_ours_cannot_be_restricted_so(api: Api) -> None:
    with pytest.raises(InvalidArgumentError, match="unknown restricted api"):
        http_restrictions([f"{api.value}:k=v"])


@pytest.mark.parametrize("key", ["a b", "a:b", "ä"])
def test_a_header_that_nobody_can_send_is_warned_of(key: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        http_restrictions([f"health:{key}=v"])
    assert key in caplog.text
    assert "nobody can use" in caplog.text


def test_texts_do_not_repeat_the_secret() -> None:
    for word in ("nope:key=hunter2", "health,health:key=hunter2"):
        with pytest.raises(InvalidArgumentError) as raised:
            http_restrictions([word])
        assert "hunter2" not in str(raised.value)
