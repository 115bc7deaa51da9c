"""Servers with a hosting service's endpoint, Atoll's and the real one, and their answers."""

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from tests.conformance.hosting.hosting_questions import FOLDER, SERVERS
from tests.conformance.hosting.hosting_repository import write_archives, write_models
from tests.conformance.process import HOST, ServerProcess, free_ports, start_atoll, start_real_triton, wait_until
from tests.conformance.questions import Question
from tests.conformance.record import as_record
from tests.conformance.wire import Exchange

ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "single": {"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "same"},
    "multi": {"SAGEMAKER_TRITON_PING_MODE": "live"},
    "vertex": {"AIP_PREDICT_ROUTE": "/predict", "AIP_HEALTH_ROUTE": "/health"},
}
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "single": ("--allow-sagemaker=true",),
    "multi": ("--allow-sagemaker=true", "--model-control-mode=explicit"),
    "vertex": ("--allow-vertex-ai=true", "--vertex-ai-default-model=same"),
}


@contextmanager
def hosted(folder: Path, kind: str, *, real: bool, more: tuple[str, ...] = ()) -> Iterator[tuple[ServerProcess, int]]:
    """The server, and the port of its hosting endpoint. `folder` gets the models."""
    repository = folder / "models"
    if not repository.exists():
        repository.mkdir(parents=True)
        write_archives(folder / "archives")
        if kind != "multi":
            write_models(repository)
    option = "vertex-ai" if kind == "vertex" else "sagemaker"
    port = free_ports(1)[0] if real else 0
    arguments = (*ARGUMENTS[kind], f"--{option}-port={port}", *more)
    with mock.patch.dict(os.environ, ENVIRONMENTS[kind]):
        if real:
            server = start_real_triton(repository, folder / "log", *arguments)
        else:  # the real server has no option that would forbid clients to share memory
            server = start_atoll(repository, folder / "log", *arguments, "--allow-client-shm=true")
    with server:
        started = re.compile(r"Started (?:Sagemaker|Vertex AI) HTTPService at [\d.]+:(\d+)")
        wait_until(lambda: started.search(server.log_text()) is not None, "hosting endpoint", server)
        found = started.search(server.log_text())
        assert found is not None
        wait_until(partial(_accepts, int(found[1])), "connection to the hosting endpoint", server)
        yield server, int(found[1])


def _accepts(port: int) -> bool:
    """The real server says that it has started a moment before it listens."""
    try:
        socket.create_connection((HOST, port), 5).close()
    except OSError:
        return False
    return True


def put(port: int, folder: Path, question: Question) -> Exchange:
    """One question."""
    body = question.body
    if body is not None:
        body = body.replace(FOLDER.encode(), str(folder / "archives").encode())
    return Exchange.ask(HOST, port, question.method, question.path, body=body, headers=question.headers)


def answers(folder: Path, kind: str, *, real: bool) -> dict[str, Any]:
    """To all questions of one kind of server, by their names."""
    found = {}
    with hosted(folder, kind, real=real) as (_, port):
        for question in SERVERS[kind]():
            record = as_record(put(port, folder, question))
            if "body" in record:
                record["body"] = record["body"].replace(str(folder / "archives"), FOLDER)
            found[question.name] = record
    return found
