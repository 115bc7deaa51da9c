"""Streams over a real server with a Python model: events come when they are made, and what ends them early."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.generate.generate_repository import write_repository
from tests.conformance.process import HOST, ServerProcess, start_atoll, wait_until
from tests.conformance.wire import request_bytes

STREAM = "/v2/models/paced/generate_stream"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own."""
    models = ["--model-control-mode=explicit", "--load-model=paced", "--load-model=sequence"]
    with start_atoll(write_repository(tmp_path / "models"), tmp_path / "log", *models) as server:
        yield server


class Paced:
    """One request to the model that sends a response when the test says so."""

    def __init__(self, server: ServerProcess, folder: Path):
        folder.mkdir()
        self._server = server
        self._folder = folder
        self.connection = socket.create_connection((HOST, server.ports["http"]), 30)
        body = json.dumps({"text_input": str(folder)}).encode()
        self.connection.sendall(request_bytes("POST", STREAM, body, {"Connection": "close"}))
        self._received = b""

    def say(self, name: object) -> None:
        """Let the model send the response of this number, or `end`."""
        (self._folder / str(name)).touch()

    def wait_for(self, name: str) -> None:
        """Until the model has left a file of this name."""
        wait_until((self._folder / name).exists, name, self._server)

    def event(self) -> str:
        """The text of the next event."""
        while (found := re.search(rb"data: (.*)\n\n", self._received)) is None:
            more = self.connection.recv(1 << 16)
            assert more, self._received
            self._received += more
        self._received = self._received[found.end() :]
        return str(json.loads(found[1])["text_output"])

    def rest(self) -> bytes:
        """What comes until the connection ends."""
        while more := self.connection.recv(1 << 16):
            self._received += more
        return self._received


@pytest.fixture
def paced(server: ServerProcess, tmp_path: Path) -> Iterator[Paced]:
    paced = Paced(server, tmp_path / "request")
    with paced.connection:
        yield paced


def test_events_come_when_they_are_made(paced: Paced) -> None:
    for number in range(3):
        paced.wait_for(f"waits for {number}")
        paced.say(number)
        assert paced.event() == str(number)
    paced.say("end")
    assert paced.rest() == b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("events", [0, 2])
def test_a_client_that_goes_away_cancels_the_request_in_the_model(paced: Paced, events: int) -> None:
    for number in range(events):
        paced.say(number)
        assert paced.event() == str(number)
    paced.wait_for(f"waits for {events}")
    paced.connection.close()
    paced.wait_for("cancelled")


def test_a_server_that_stops_lets_a_stream_end(server: ServerProcess, paced: Paced) -> None:
    paced.say(0)
    assert paced.event() == "0"
    server.terminate()
    server.wait_for_log("Waiting for in-flight requests to complete.")
    paced.say(1)
    assert paced.event() == "1"
    paced.say("end")
    assert paced.rest() == b"\r\n0\r\n\r\n"
    assert server.wait() == 0


def test_streams_of_other_clients_go_on(server: ServerProcess, paced: Paced) -> None:
    answer = server.exchange("GET", "/v2/health/ready")
    assert answer.status == 200
    paced.say(0)
    assert paced.event() == "0"


def test_a_sequence_is_generated_request_by_request(server: ServerProcess) -> None:
    steps = ({"sequence_start": True}, {}, {"parameters": {"sequence_end": True}}, {"sequence_id": 9})
    found = []
    for step in steps:
        body = json.dumps({"text_input": "hi", "sequence_id": 5, **step}).encode()
        found.append(server.exchange("POST", "/v2/models/sequence/generate", body=body))
    assert [json.loads(one.json()["SEEN"])["flags"] for one in found[:3]] == [1, 0, 2]
    assert (found[3].status, "must specify the START flag" in found[3].error) == (400, True)


@pytest.mark.parametrize("endpoint", ["generate", "generate_stream"])
def test_a_client_that_has_only_stopped_sending_is_answered(server: ServerProcess, endpoint: str) -> None:
    """As the real server does."""
    body = b'{"text_input": "hi", "sequence_id": 1, "sequence_start": true}'
    with socket.create_connection((HOST, server.ports["http"]), 30) as connection:
        connection.sendall(request_bytes("POST", f"/v2/models/sequence/{endpoint}", body))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while more := connection.recv(1 << 16):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"model_name":"sequence"' in answer
