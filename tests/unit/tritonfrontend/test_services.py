"""The frontends of an in-process server, asked by official clients."""

import pickle
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tests.unit.server.python_repository import nothing_left
from tests.unit.tritonserver.conftest import THREAD, TWICE, write_python

from atoll import tritonfrontend, tritonserver
from atoll.tritonfrontend import KServeGrpc, KServeHttp, Metrics

HOST = "127.0.0.1"
KINDS = [KServeHttp, KServeGrpc, Metrics]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tritonserver.Server]:
    folder = tmp_path_factory.mktemp("frontends")
    write_python(folder, "twice", TWICE, parameters=THREAD)
    with tritonserver.Server(model_repository=str(folder)) as server:
        yield server


def infer(client: Any, module: Any) -> Any:
    given = module.InferInput("IN", [2], "FP32")
    given.set_data_from_numpy(np.array([1, 2], np.float32))
    return client.infer("twice", [given]).as_numpy("OUT").tolist()


def test_http_answers(server: tritonserver.Server) -> None:
    service = KServeHttp(server, KServeHttp.Options(address=HOST, port=0))
    with service, tritonclient.http.InferenceServerClient(f"{HOST}:{service.port}") as client:
        assert client.is_server_ready()
        assert infer(client, tritonclient.http) == [2.0, 4.0]


def test_grpc_answers(server: tritonserver.Server) -> None:
    options = KServeGrpc.Options(address=HOST, port=0, infer_compression_level=KServeGrpc.Grpc_compression_level.LOW)
    service = KServeGrpc(server, options)
    with service, tritonclient.grpc.InferenceServerClient(f"{HOST}:{service.port}") as client:
        assert infer(client, tritonclient.grpc) == [2.0, 4.0]


def test_the_page_has_the_programs_own_metrics(server: tritonserver.Server) -> None:
    family = tritonserver.MetricFamily(tritonserver.MetricKind.GAUGE, "of_the_program", "its own")
    metric = family.create_metric()
    metric.set_value(5)
    service = Metrics(server, Metrics.Options(address=HOST, port=0))
    with service, urllib.request.urlopen(f"http://{HOST}:{service.port}/metrics", timeout=60) as page:
        text = page.read().decode()
    assert "of_the_program 5" in text
    assert "nv_inference_request_success" in text


def test_all_at_once_and_again(server: tritonserver.Server) -> None:
    services = [kind(server, kind.Options(address=HOST, port=0)) for kind in KINDS]
    with nothing_left():
        for _ in range(2):
            for service in services:
                service.start()
            assert len({service.port for service in services}) == 3
            for service in services:
                with pytest.raises(tritonserver.InvalidArgumentError, match="is started already"):
                    service.start()
            for service in services:
                service.stop()
                service.stop()  # does nothing
                assert service.port == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_that_is_taken_is_said(server: tritonserver.Server, kind: Any) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(tritonserver.UnavailableError, match=f"{kind.name} cannot listen: .*{port}"):
            kind(server, kind.Options(address=HOST, port=port)).start()


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_meant_is_refused(server: tritonserver.Server, kind: Any) -> None:
    for wrong in ({"port": -1}, {"port": 65536}, {"port": "8000"}, {"port": True}, {"address": 5}):
        with pytest.raises(tritonserver.InvalidArgumentError, match=f"Options: {next(iter(wrong))} is "):
            kind.Options(**wrong)
    with pytest.raises(tritonserver.InvalidArgumentError, match=r"not a tritonserver\.Server"):
        kind("server")
    with pytest.raises(tritonserver.InvalidArgumentError, match=rf"not {kind.name}\.Options"):
        kind(server, {"port": 0})
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(kind(server))


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_must_be_started(tmp_path: Path, kind: Any) -> None:
    service = kind(tritonserver.Server(model_repository=str(tmp_path)), kind.Options(address=HOST, port=0))
    with pytest.raises(tritonserver.InvalidArgumentError, match="Server not started"):
        service.start()


def test_every_option_is_one_of_listens() -> None:
    from atoll.options import OPTIONS

    known = {one.field for one in OPTIONS}
    for kind in (tritonfrontend.KServeHttp, tritonfrontend.KServeGrpc, tritonfrontend.Metrics):
        assert kind.Options().listen_options().keys() <= known
    assert tritonfrontend.KServeHttp.Options(thread_count=3).listen_options()["http_thread_count"] == 3
