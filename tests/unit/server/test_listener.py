"""Frontends in somebody else's process: how they begin, what they answer, and how they end with the program."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

import atoll

PATIENCE_S = 30
FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
TENSORS: dict[str, Any] = {"inputs": {"x": ("FP32", [1])}, "outputs": {"y": ("FP32", [1])}}


def double(x: Any) -> Any:
    return x * 2


@pytest.fixture
def server() -> Iterator[atoll.Server]:
    made = atoll.Server()
    made.add_model("double", double, **TENSORS)
    yield made
    made.stop()


def over_http(port: int, name: str = "double") -> Any:
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [21]}]}
    url = f"http://127.0.0.1:{port}/v2/models/{name}/infer"
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=PATIENCE_S) as answer:
        return json.load(answer)["outputs"][0]["data"]


def over_grpc(port: int) -> Any:
    tensor = InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(np.array([21], np.float32))
    with InferenceServerClient(f"127.0.0.1:{port}") as client:
        return client.infer("double", [tensor]).as_numpy("y").tolist()


def refuses(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def test_a_server_is_served_until_it_is_closed(server: atoll.Server) -> None:
    with server:
        with atoll.listen(server, **FREE) as listener:
            assert (over_http(listener.http_port), over_grpc(listener.grpc_port)) == ([42], [42])
            with urllib.request.urlopen(f"http://127.0.0.1:{listener.metrics_port}/metrics") as page:
                assert b'nv_inference_request_success{model="double",version="1"} 2\n' in page.read()
            assert f"HTTPService at 127.0.0.1:{listener.http_port}" in repr(listener)
            server.add_model("later", double, **TENSORS)
            assert over_http(listener.http_port, "later") == [42]
        assert refuses(listener.http_port)
        assert repr(listener) == "Listener(closed)"
        assert server.live(), "who started the server stops it"


def test_it_starts_a_server_that_is_not_and_stops_it(server: atoll.Server) -> None:
    listener = atoll.listen(server, **FREE)
    assert over_http(listener.http_port) == [42]
    listener.close()
    listener.close()
    assert not server.live()
    with pytest.raises(atoll.InvalidArgumentError, match="a stopped server cannot start again"):
        atoll.listen(server, **FREE)


def test_frontends_that_are_off_have_no_port(server: atoll.Server) -> None:
    with atoll.listen(server, http_port=0, allow_grpc=False, allow_metrics=False) as listener:
        assert over_http(listener.http_port) == [42]
        assert (listener.grpc_port, listener.metrics_port) == (0, 0)


def test_from_a_running_event_loop_as_in_a_notebook(server: atoll.Server) -> None:
    async def cell() -> Any:
        with atoll.listen(server, **FREE) as listener:
            return await asyncio.to_thread(over_http, listener.http_port)

    assert asyncio.run(cell()) == [42]


def test_an_address_that_is_taken(server: atoll.Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        before = threading.active_count()
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            atoll.listen(server, **{**FREE, "http_port": port})
    assert not server.live()
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"htp_port": 1}, "there is no option 'htp_port'; did you mean 'http_port'?"),
        ({"model_repository": "x"}, "there is no option 'model_repository'"),
        ({"http_port": "8000"}, "http_port='8000': expected int from 0 to 65535"),
        ({"http_port": 65536}, "http_port=65536: expected int"),
        ({"http_port": True}, "http_port=True: expected int"),
        ({"allow_grpc": 1}, "allow_grpc=1: expected bool"),
        ({"grpc_transport": "pigeon"}, "grpc_transport='pigeon': expected auto or nghttp2 or grpcio"),
    ],
)
def test_options_that_are_none(server: atoll.Server, options: dict[str, Any], text: str) -> None:
    with pytest.raises(atoll.InvalidArgumentError) as caught:
        atoll.listen(server, **options)
    assert str(caught.value).startswith(f"listen: {text}")
    assert not server.live()


def test_what_is_in_flight_is_answered_before_it_closes(server: atoll.Server) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return x * 2

    server.add_model("slow", slow, **TENSORS)
    listener = atoll.listen(server, **FREE)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(over_http(listener.http_port, "slow")))
    asking.start()
    assert entered.wait(PATIENCE_S)
    closing = [threading.Thread(target=listener.close) for _ in range(2)]
    for one in closing:
        one.start()
    go_on.set()
    for one in [asking, *closing]:
        one.join(PATIENCE_S)
        assert not one.is_alive()
    assert answers == [[42]]


def test_waiting_ends_when_another_thread_closes_it(server: atoll.Server) -> None:
    listener = atoll.listen(server, **FREE)
    waiting = threading.Thread(target=listener.wait)
    waiting.start()
    listener.close()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()


PROGRAM = """
import atoll

server = atoll.Server()
server.add_model("double", lambda x: x * 2, inputs={"x": ("FP32", [1])}, outputs={"y": ("FP32", [1])})
listener = atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0)
print(listener.http_port, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_script_that_waits_ends_in_order(number: signal.Signals) -> None:
    program = PROGRAM + "listener.wait()\nprint('the end', server.live())"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert over_http(int(process.stdout.readline())) == [42]
        process.send_signal(number)
        assert process.stdout.read() == "the end False\n"
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.slow
def test_a_script_that_does_not_wait_just_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
