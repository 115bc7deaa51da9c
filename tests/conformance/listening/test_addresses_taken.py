"""Which addresses the ports take, compared with the real server."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.listening.record_addresses import ADDRESSES, KINDS, reached, record
from tests.conformance.recording import read_record

import atoll

RECORDED = read_record("addresses")
BOTH, FOUR, SIX = ["127.0.0.1", "::1"], ["127.0.0.1"], ["::1"]
OTHERWISE: dict[str, dict[str, Any]] = {
    # what HTTP of the real server cannot read makes it listen where nobody reaches it, or everywhere
    "http": {"localhost": BOTH, "::1": SIX, "[::1]": SIX, "::": BOTH, "[::]": BOTH},
    # its gRPC does not start with the forms that its HTTP takes
    "grpc": {"::1": SIX, "::": BOTH, "ipv4:127.0.0.1": FOUR, "ipv6:::1": SIX, "ipv6:[::1]": SIX, "ipv6:::": SIX},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[atoll.Server]:
    with atoll.Server(tmp_path_factory.mktemp("empty")) as server:
        yield server


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_address_means_what_it_means_there(server: atoll.Server, kind: str, address: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    options: dict[str, Any] = {f"{kind}_address": address, "http_port": 0, "grpc_port": 0, "allow_metrics": False}
    with atoll.listen(server, **options) as listener:
        found = reached(getattr(listener, f"{kind}_port"))
    expected = OTHERWISE[kind].get(address, RECORDED[kind][address])
    if address == "localhost":  # which of the two the name has is the machine's business
        assert found
        return
    assert found == expected


def test_the_differences_are_differences() -> None:
    for kind, differing in OTHERWISE.items():
        for address, ours in differing.items():
            assert RECORDED[kind][address] != ours, f"{kind} {address}: no difference any more"


@pytest.mark.oracle
def test_the_record_is_what_the_real_server_does(tmp_path: Path) -> None:
    assert ask_again(record, tmp_path) == RECORDED
