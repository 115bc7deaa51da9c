"""The client that asks while models are reloaded: what it takes for right, garbled and failed."""

import http.server
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from benchmarks.bodies import model_infer_request
from benchmarks.lifecycle.answers import FAILED, GARBLED
from benchmarks.lifecycle.client import (
    FAILURES_SHOWN,
    AnswerError,
    Connection,
    HttpConnection,
    factor_of,
    fields,
    rows,
    run,
)
from benchmarks.lifecycle.repositories import SCALE_INPUT
from hypothesis import given
from hypothesis import strategies as st

(ROW, *_) = rows(0)


def scaled(row: bytes, factor: float) -> bytes:
    return (np.frombuffer(row, "<f4") * np.float32(factor)).tobytes()


@given(st.integers(0, 100), st.integers(1, 1000))
def test_the_factor_is_read_off_the_answer(seed: int, factor: int) -> None:
    for row in rows(seed)[:4]:
        assert factor_of(row, scaled(row, factor)) == factor


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        ROW[:-4],
        ROW + ROW,
        scaled(ROW, 0),
        scaled(ROW, -1),
        scaled(ROW, 1.5),
        scaled(ROW, float("nan")),
        scaled(ROW, float("inf")),
        scaled(ROW, 2)[:32] + scaled(ROW, 3)[32:],  # half of it from another model
        scaled(rows(1)[0], 2),  # another request's
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_any_other_answer_is_garbled(answer: bytes) -> None:
    assert factor_of(ROW, answer) == GARBLED


def test_clients_send_different_rows() -> None:
    assert len({*rows(1), *rows(2)}) == len(rows(1)) + len(rows(2))


def test_fields_of_a_message_are_those_that_were_written() -> None:
    message = model_infer_request("scale", [SCALE_INPUT], [ROW])
    assert [number for number, _ in fields(message)] == [1, 5, 7]
    assert dict(fields(message))[7] == ROW
    assert dict(fields(message))[1] == b"scale"


@pytest.mark.parametrize(
    "message", [b"\x08\x01", b"\x0a\x05abc", b"\x0a", b"\x80", b"\x0a" + b"\xff" * 12], ids=lambda m: m.hex()
)
def test_other_messages_are_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"wire type|cut off"):
        list(fields(message))


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    try:
        found = list(fields(message))
    except ValueError:
        return
    assert sum(len(content) for _, content in found) <= len(message)


class Scripted:
    """Answers with one thing after the other, then stops the run."""

    def __init__(self, *answers: Callable[[bytes], bytes]) -> None:
        self._answers = list(answers)
        self.stop = threading.Event()

    def infer(self, row: bytes) -> bytes:
        answer = self._answers.pop(0)
        if not self._answers:
            self.stop.set()
        return answer(row)

    def close(self) -> None:
        pass


def refuse(row: bytes) -> bytes:
    raise AnswerError("status 503: not now")


def test_every_request_is_written_down() -> None:
    connection = Scripted(lambda row: scaled(row, 3), refuse, lambda row: row[:8], lambda row: row)
    answers, failures = run(connection, rows(0), connection.stop)
    assert answers[:, 2].tolist() == [3, FAILED, GARBLED, 1]
    assert (answers[:, 1] >= answers[:, 0]).all()
    assert failures == ["status 503: not now"]


def test_no_more_than_a_few_failures_are_told() -> None:
    connection = Scripted(*[refuse] * (FAILURES_SHOWN + 3))
    answers, failures = run(connection, rows(0), connection.stop)
    assert len(answers) == FAILURES_SHOWN + 3
    assert len(failures) == FAILURES_SHOWN


class Door(http.server.BaseHTTPRequestHandler):
    """Fails the first request, hangs up on the second, and doubles all others."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        row = body[int(self.headers["Inference-Header-Content-Length"]) :]
        type(self).count += 1
        if self.count == 2:
            self.close_connection = True
            return
        content = b'{"error":"no"}' if self.count == 1 else b"{ }" + scaled(row, 2)
        self.send_response(503 if self.count == 1 else 200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Inference-Header-Content-Length", "3")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def http_connection() -> Iterator[Connection]:
    Door.count = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        connection = HttpConnection(server.server_address[1])
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def test_http_failures_are_told_and_the_next_request_goes_on(http_connection: Connection) -> None:
    with pytest.raises(AnswerError, match=r'503.*"no"'):
        http_connection.infer(ROW)
    with pytest.raises(AnswerError, match="RemoteDisconnected"):
        http_connection.infer(ROW)
    assert factor_of(ROW, http_connection.infer(ROW)) == 2
