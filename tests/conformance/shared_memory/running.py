"""Takes a server through the scenarios, and writes down what it answers and what is then in the second file."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from tests.conformance import comparing, grpc_questions
from tests.conformance.process import ServerProcess, wait_until
from tests.conformance.record import as_record
from tests.conformance.shared_memory.scenarios import scenarios
from tests.conformance.shared_memory.steps import FILE_BYTES, Grpc, Http, Step, Unlink, unregister

MEMORY = Path("/dev/shm")
TEXT = struct.pack("<I3sI4s", 3, b"abc", 4, b"defg")


class Keys:
    """The true names of @one, @two and @text: no two processes use the same."""

    def __init__(self) -> None:
        self._names = {f"@{name}": f"/atoll_{os.getpid()}_{name}" for name in ("one", "two", "text")}

    def path(self, key: str) -> Path:
        return MEMORY / self._names[key][1:]

    def true(self, value: Any) -> Any:
        """With the true names in the place of the short ones."""
        if isinstance(value, dict):
            return {name: self.true(one) for name, one in value.items()}
        return self._names.get(value, value) if isinstance(value, str) else value

    def short(self, value: Any) -> Any:
        """The other way round, within texts too."""
        if isinstance(value, dict):
            return {name: self.short(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.short(one) for one in value]
        if isinstance(value, str):
            for short, name in self._names.items():
                value = value.replace(name, short)
        return value

    @contextmanager
    def files(self) -> Iterator[None]:
        """@one counts up, @two is empty, @text holds two strings; all as long as each other."""
        contents = {"@one": struct.pack(f"<{FILE_BYTES // 4}i", *range(FILE_BYTES // 4)), "@two": b"", "@text": TEXT}
        for key, data in contents.items():
            self.path(key).write_bytes(data.ljust(FILE_BYTES, b"\0"))
        try:
            yield
        finally:
            for key in contents:
                self.path(key).unlink(missing_ok=True)


def run_all(server: ServerProcess) -> dict[str, Any]:
    """The answers of a server to every scenario, by name."""
    with grpc.insecure_channel(server.grpc) as channel:
        return {name: run(server, channel, steps) for name, steps in scenarios().items()}


def run(server: ServerProcess, channel: grpc.Channel, steps: list[Step]) -> dict[str, Any]:
    """`answers`: one for each step that asks. `two`: the first 64 bytes of @two after them."""
    keys = Keys()
    answers = []
    wait_until(lambda: _forgotten(server, keys), "end of the regions before", server)
    with keys.files():
        for step in steps:
            if isinstance(step, Unlink):
                keys.path(step.key).unlink()
            elif isinstance(step, Http):
                answers.append(keys.short(_http(server, step, keys)))
            else:
                answers.append(keys.short(_grpc(channel, step, keys)))
        return {"answers": answers, "two": keys.path("@two").read_bytes()[:64].hex()}


def _forgotten(server: ServerProcess, keys: Keys) -> bool:
    """Whether no regions are left. The real server may answer a request a moment before it lets go of its regions."""
    assert _http(server, unregister(), keys)["status"] == 200
    return server.exchange("GET", "/v2/systemsharedmemory/status").json() == []


def _http(server: ServerProcess, step: Http, keys: Keys) -> dict[str, Any]:
    step = Http(step.method, step.path, keys.true(step.body), step.header)
    return as_record(server.exchange(step.method, step.path, body=step.bytes(), headers=step.headers()))


def _grpc(channel: grpc.Channel, step: Grpc, keys: Keys) -> dict[str, Any]:
    messages = list(step.messages)
    if hasattr(messages[0], "key"):
        message = type(messages[0])()
        message.CopyFrom(messages[0])
        message.key = keys.true(message.key)
        messages = [message]
    question = grpc_questions.Question(step.method, step.method, messages)
    answer: dict[str, Any] = comparing.normal(grpc_questions.ask(channel, question))
    return answer
