"""A server with event loops of their own for HTTP and gRPC, with and without TLS: every client gets its own answers."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tests.conformance.models import write_onnx_repository
from tests.conformance.process import ServerProcess, start_atoll, wait_until

CLIENTS = 6
REQUESTS = 40


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem, for this machine, and key.pem."""
    folder = tmp_path_factory.mktemp("certificate")
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module", params=["plain", "tls"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> Iterator[tuple[ServerProcess, Path | None]]:
    folder = tmp_path_factory.mktemp("loops")
    options = ["--http-thread-count=3", "--grpc-infer-thread-count=3"]
    tls = request.param == "tls"
    if tls:
        for port in ("http", "grpc"):
            files = [f"--{port}-server-{name}={certificate / name}.pem" for name in ("cert", "key")]
            options += [f"--{port}-use-ssl", *files]
    repository = write_onnx_repository(folder / "models", "simple")
    with start_atoll(repository, folder / "log", *options, wait_ready=False) as running:
        yield running, certificate if tls else None


def client_of(kind: str, server: ServerProcess, certificate: Path | None) -> Any:
    if kind == "grpc":
        files = {"ssl": True, "root_certificates": str(certificate / "cert.pem")} if certificate else {}
        return tritonclient.grpc.InferenceServerClient(server.grpc, **files)
    files = {"ssl": True, "ssl_options": {"ca_certs": str(certificate / "cert.pem")}} if certificate else {}
    return tritonclient.http.InferenceServerClient(server.http, **files)


def ask(kind: str, server: ServerProcess, certificate: Path | None, number: int) -> None:
    module = tritonclient.grpc if kind == "grpc" else tritonclient.http
    with client_of(kind, server, certificate) as client:
        for turn in range(REQUESTS):
            value = np.full((1, 16), number * 1000 + turn, np.int32)
            inputs = [module.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
            for one in inputs:
                one.set_data_from_numpy(value)
            answer = client.infer("simple", inputs)
            assert (answer.as_numpy("OUTPUT0") == 2 * value).all()


def together(calls: list[Callable[[], None]]) -> list[BaseException]:
    failures: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failures


def test_every_client_gets_its_own_answers(server: tuple[ServerProcess, Path | None]) -> None:
    running, certificate = server
    wait_until(lambda: ready(running, certificate), "readiness", running)
    calls = [
        lambda kind=kind, number=number: ask(kind, running, certificate, number)  # type: ignore[misc]
        for kind in ("http", "grpc")
        for number in range(CLIENTS)
    ]
    assert not together(calls)
    assert running.process.poll() is None


def ready(running: ServerProcess, certificate: Path | None) -> bool:
    with client_of("grpc", running, certificate) as client:
        return bool(client.is_model_ready("simple"))


def test_it_ends_in_order(server: tuple[ServerProcess, Path | None]) -> None:
    running, certificate = server
    with client_of("http", running, certificate) as idle:
        assert idle.is_server_live()
        running.terminate()
        assert running.wait() == 0
    assert "All requests in flight were answered" in running.log_text()
