"""One client in a process of its own: sends a request, waits for its answer, writes down what it was, and so on.

python -m benchmarks.lifecycle.client PROTOCOL PORT SEED FILE

It goes on until its standard input ends, and then writes FILE (the answers, as `answers.tally` reads them) and prints
the first few failures, one JSON text a line. A connection is kept as long as the server keeps it.
"""

import http.client
import json
import os
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol as Interface

import grpc
import numpy as np

from benchmarks.bodies import http_infer_request, model_infer_request
from benchmarks.lifecycle.answers import FAILED, GARBLED
from benchmarks.lifecycle.repositories import SCALE, SCALE_INPUT

ANSWER_SECONDS = 60.0
PAUSE_SECONDS = 0.01  # after a failure, so that a server that is gone does not count for a million of them
FAILURES_SHOWN = 5
REQUESTS = 64
RAW_OUTPUT_CONTENTS = 6  # the field's number in Triton's published service definition

_METHOD = "/inference.GRPCInferenceService/ModelInfer"


class AnswerError(RuntimeError):
    """The request failed; the message says how."""


class Connection(Interface):
    """Carries one request after the other."""

    def infer(self, row: bytes) -> bytes:
        """The output's contents for the input's. Raises AnswerError."""

    def close(self) -> None:
        """Frees the connection."""


class HttpConnection:
    """A kept-alive connection, binary tensors both ways; a new one after a failure."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)

    def infer(self, row: bytes) -> bytes:
        headers, body = http_infer_request([SCALE_INPUT], [row])
        try:
            self._http.request("POST", f"/v2/models/{SCALE}/infer", body, headers)
            answer = self._http.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise AnswerError(repr(error)) from error
        if answer.status != http.client.OK:
            raise AnswerError(f"status {answer.status}: {content[:500].decode(errors='replace')}")
        return content[int(answer.headers.get("Inference-Header-Content-Length", len(content))) :]

    def close(self) -> None:
        self._http.close()


class GrpcConnection:
    """A channel, and messages as bytes."""

    def __init__(self, port: int) -> None:
        # A channel of its own even where another client of this process has the same target.
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.unary_unary(_METHOD)

    def infer(self, row: bytes) -> bytes:
        try:
            message = self._call(model_infer_request(SCALE, [SCALE_INPUT], [row]), timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise AnswerError(str(error)) from error
        return next((content for number, content in fields(message) if number == RAW_OUTPUT_CONTENTS), b"")

    def close(self) -> None:
        self._channel.close()


CONNECTIONS: dict[str, Callable[[int], Connection]] = {"http": HttpConnection, "grpc": GrpcConnection}


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of a protobuf message that has length-delimited ones only.

    Raises ValueError for any other, and for a message that is cut off.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 != 2:
            raise ValueError(f"field {key >> 3} is of wire type {key & 7}, not length-delimited")
        size, at = _varint(message, at)
        if at + size > len(message):
            raise ValueError(f"field {key >> 3} is cut off: {len(message) - at} of {size} bytes")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number is cut off")


def factor_of(row: bytes, answer: bytes) -> int:
    """By what every number of the row was multiplied; GARBLED where that is not one whole number."""
    asked = np.frombuffer(row, "<f4")
    if len(answer) != len(row):
        return GARBLED
    got = np.frombuffer(answer, "<f4")
    factor = float(got[0] / asked[0])
    if not (factor >= 1 and factor.is_integer() and np.array_equal(asked * np.float32(factor), got)):
        return GARBLED
    return int(factor)


def rows(seed: int) -> list[bytes]:
    """Inputs of whole numbers, which a float multiplies without rounding; others for each client."""
    random = np.random.default_rng(seed)
    return [random.integers(1, 1000, SCALE_INPUT.dims).astype("<f4").tobytes() for _ in range(REQUESTS)]


def run(connection: Connection, inputs: Sequence[bytes], stop: threading.Event) -> tuple[np.ndarray, list[str]]:
    """Send until `stop`; the answers, INT64[n,3], and the first few failures."""
    answers = array("q")
    failures: list[str] = []
    while not stop.is_set():
        row = inputs[len(answers) // 3 % len(inputs)]
        sent = time.monotonic_ns()
        try:
            content = connection.infer(row)
        except (AnswerError, ValueError) as error:
            answers.extend((sent, time.monotonic_ns(), FAILED))
            if len(failures) < FAILURES_SHOWN:
                failures.append(str(error))
            stop.wait(PAUSE_SECONDS)
            continue
        answers.extend((sent, time.monotonic_ns(), factor_of(row, content)))
    return np.array(answers, np.int64).reshape(-1, 3), failures


def main(arguments: Sequence[str]) -> int:
    protocol, port, seed, file = arguments
    stop = threading.Event()

    def wait_for_end() -> None:
        # Not through sys.stdin, whose lock would still be held if the process ended for another reason.
        while os.read(0, 1):
            pass
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    connection = CONNECTIONS[protocol](int(port))
    try:
        answers, failures = run(connection, rows(int(seed)), stop)
    finally:
        connection.close()
    np.save(file, answers)
    for failure in failures:
        print(json.dumps(failure))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
