"""The response cache of a server: what is answered from it, over every door, and what is said of it."""

import asyncio
import json
import logging
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

import atoll
from atoll.errors import AtollError, InvalidArgumentError

PATIENCE_S = 30
FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
LOCAL = ["local,size=1MiB"]
CACHED = {"response_cache": {"enable": True}}
TENSORS: dict[str, Any] = {
    "inputs": {"IN": ("FP32", [-1]), "TEXT": ("BYTES", [1], True)},
    "outputs": {"OUT": ("FP32", [-1]), "COUNT": ("INT32", [1]), "SAID": ("BYTES", [1])},
}


class Counting:
    """A function that says how often it was called."""

    def __init__(self, factor: float = 2) -> None:
        self.calls = 0
        self.factor = factor

    def __call__(self, IN: Any, TEXT: Any = None) -> Any:  # noqa: N803
        self.calls += 1
        said = b"nothing" if TEXT is None else TEXT[0]
        return {
            "OUT": IN * np.float32(self.factor),
            "COUNT": np.array([self.calls], np.int32),
            "SAID": np.array([said], np.object_),
        }


@pytest.fixture
def function() -> Counting:
    return Counting()


Start = Callable[..., atoll.Server]


@pytest.fixture
def start(function: Counting) -> Any:
    servers: list[atoll.Server] = []

    def build(cache: list[str] = LOCAL, config: Any = CACHED, **options: Any) -> atoll.Server:
        servers.append(atoll.Server(cache_config=cache, **options))
        servers[-1].add_model("f", function, config=config, **TENSORS)
        return servers[-1].start()

    yield build
    for server in servers:
        server.stop()


def tensor(*values: float) -> Any:
    return np.array(values, np.float32)


def count(server: atoll.Server, *values: float, **options: Any) -> int:
    return int(server.infer("f", {"IN": tensor(*values)}, **options)["COUNT"][0])


def test_an_equal_request_is_answered_from_the_cache(start: Start, function: Counting) -> None:
    server = start()
    assert [count(server, 1, 2), count(server, 1, 2), count(server, 1, 3), count(server, 1, 2, request_id="x")] == [
        *(1, 1, 2, 1)
    ]
    response = server.infer("f", {"IN": tensor(1, 2)}, request_id="y")
    assert (response["OUT"].tolist(), response["SAID"].tolist(), response.id) == ([2, 4], [b"nothing"], "y")
    assert function.calls == 2


def test_text_counts_as_every_other_input(start: Start, function: Counting) -> None:
    server = start()
    for text in ("a", "b", b"a", "a"):
        said = server.infer("f", {"IN": tensor(1), "TEXT": np.array([text], np.object_)})["SAID"]
        assert said.tolist() == [text if isinstance(text, bytes) else text.encode()]
    assert function.calls == 2


def test_a_request_for_other_outputs_is_another_request(start: Start, function: Counting) -> None:
    server = start()
    first = server.infer("f", {"IN": tensor(1)}, outputs=["OUT"])
    then_all = server.infer("f", {"IN": tensor(1)})
    some = server.infer("f", {"IN": tensor(1)}, outputs=["COUNT", "SAID"])
    again = server.infer("f", {"IN": tensor(1)}, outputs=["SAID", "COUNT"])
    named = server.infer("f", {"IN": tensor(1)}, outputs=["SAID", "COUNT", "OUT"])
    names = [[one.name for one in response.outputs] for response in (first, then_all, some, again, named)]
    assert names == [["OUT"], ["OUT", "COUNT", "SAID"], ["COUNT", "SAID"], ["COUNT", "SAID"], ["OUT", "COUNT", "SAID"]]
    assert function.calls == 3


def test_a_model_that_does_not_enable_it_is_not_cached(start: Start, function: Counting) -> None:
    server = start(config=None)
    assert [count(server, 1), count(server, 1)] == [1, 2]
    [statistics] = server.statistics("f")
    assert (statistics.cache_hit.count, statistics.cache_miss.count) == (0, 0)


def test_a_server_without_a_cache_says_so_and_serves(
    start: Start, function: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(cache=[])
    assert [count(server, 1), count(server, 1)] == [1, 2]
    assert "model 'f' enables the response cache, and the server has none" in caplog.text
    assert server.response_cache is None


def test_a_model_that_is_loaded_anew_answers_itself(start: Start) -> None:
    server = start()
    assert count(server, 1) == 1
    server.add_model("f", Counting(factor=3), config=CACHED, **TENSORS)
    assert server.infer("f", {"IN": tensor(1)})["OUT"].tolist() == [3]


def test_answers_last_as_long_as_is_said(start: Start, function: Counting) -> None:
    parameters = {"response_cache_ttl_seconds": {"string_value": "0.000001"}}
    server = start(cache=["local,size=1MiB", "local,ttl=3600"], config={**CACHED, "parameters": parameters})
    assert [count(server, 1), count(server, 1)] == [1, 2]  # the model's own word
    server.add_model("f", function, config=CACHED, **TENSORS)
    assert [count(server, 1), count(server, 1)] == [3, 3]


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1e9", "inf"])
def test_a_time_that_is_none_is_a_problem_of_the_model(start: Start, text: str) -> None:
    config = {**CACHED, "parameters": {"response_cache_ttl_seconds": {"string_value": text}}}
    with pytest.raises(InvalidArgumentError, match=f"'{text}' but must be a number of seconds"):
        start(config=config)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_transaction_policy": {"decoupled": True}}, "'decoupled' transaction policy"),
        ({"sequence_batching": {}}, "sequence batching scheduler"),
    ],
)
def test_what_cannot_be_cached_is_refused_as_by_the_real_server(start: Start, config: Any, kind: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        start(config={**CACHED, **config})
    assert f"Response Cache does not currently support model f with {kind}. Please disable the response cache." in str(
        raised.value
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["local,size=0"], "Failed to initialize LocalCache"),
        (["nosuch,size=3"], "unable to find cache 'nosuch'"),
        (["local"], "No cache specified"),
        (["redis,port=6379"], "Must at a minimum specify 'host'"),
        (["redis,host=h", "redis,hots=x"], "Did you mean 'host'"),
        (["redis,host=h", "redis,port=x"], "'x' is no number from 0 to 65535"),
        (["redis,host=h", "redis,cacert=/x"], "TLS is off"),
        (["redis,host=h", "redis,timeout=0"], "no number of seconds"),
    ],
)
def test_a_cache_that_cannot_be_made_is_an_error_of_the_server(given: list[str], words: str) -> None:
    with pytest.raises(AtollError, match=words):
        atoll.Server(cache_config=given)


def test_the_deprecated_option_is_a_local_cache(function: Counting) -> None:
    with atoll.Server(response_cache_byte_size=1 << 20) as server:
        server.add_model("f", function, config=CACHED, **TENSORS)
        assert [count(server, 1), count(server, 1)] == [1, 1]


def test_many_coroutines_get_their_own_answers(start: Start, function: Counting) -> None:
    server = start()

    async def ask(value: int) -> list[float]:
        response = await server.async_infer("f", {"IN": tensor(value)})
        return response["OUT"].tolist()  # type: ignore[no-any-return]

    async def ask_all() -> list[list[float]]:
        found: list[list[float]] = []
        for _ in range(3):
            found += await asyncio.gather(*(ask(value % 10) for value in range(100)))
        return found

    assert asyncio.run(ask_all()) == [[2.0 * (value % 10)] for value in range(100)] * 3
    assert function.calls <= 100


def over_http(port: int, **more: Any) -> Any:
    body = {"inputs": [{"name": "IN", "shape": [2], "datatype": "FP32", "data": [1, 2]}], **more}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/f/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_over_http_and_grpc_a_hit_is_the_same_answer(start: Start, function: Counting) -> None:
    server = start()
    with atoll.listen(server, **FREE) as listener:
        first = over_http(listener.http_port)
        again = over_http(listener.http_port, id="7", parameters={"priority": 1, "timeout": 10**6})
        assert again == {"id": "7", **first}
        named = over_http(listener.http_port, outputs=[{"name": "OUT"}])
        assert [one["name"] for one in named["outputs"]] == ["OUT"]
        given = InferInput("IN", [2], "FP32")
        given.set_data_from_numpy(tensor(1, 2))
        with InferenceServerClient(f"127.0.0.1:{listener.grpc_port}") as client:
            answer = client.infer("f", [given])
            assert (answer.as_numpy("COUNT").tolist(), answer.as_numpy("SAID").tolist()) == ([1], [b"nothing"])
            answer = client.infer("f", [given], outputs=[InferRequestedOutput("OUT")])
            assert (answer.as_numpy("OUT").tolist(), answer.as_numpy("COUNT")) == ([2, 4], None)
            statistics = client.get_inference_statistics("f").model_stats[0].inference_stats
            assert (statistics.cache_hit.count, statistics.cache_miss.count) == (3, 2)
            assert (statistics.success.count, statistics.compute_infer.count) == (5, 2)
    assert function.calls == 2


def test_the_metrics_say_what_the_cache_does(start: Start) -> None:
    server = start()
    server.add_model("plain", Counting(), **TENSORS)
    for _ in range(3):
        count(server, 1)
    with atoll.listen(server, **FREE) as listener:
        page = urllib.request.urlopen(f"http://127.0.0.1:{listener.metrics_port}/metrics", timeout=PATIENCE_S)
        with page:
            lines = page.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("nv_cache"))
    of_model = '{model="f",version="1"}'
    assert values[f"nv_cache_num_hits_per_model{of_model}"] == "2"
    assert values[f"nv_cache_num_misses_per_model{of_model}"] == "1"
    assert f"nv_cache_hit_duration_per_model{of_model}" in values
    assert f"nv_cache_miss_duration_per_model{of_model}" in values
    assert not any("plain" in name for name in values)
    assert (values["nv_cache_num_entries"], values["nv_cache_num_hits"], values["nv_cache_num_misses"]) == (
        *("1", "2", "1"),
    )
    assert values["nv_cache_num_lookups"] == "3"
    assert 0 < float(values["nv_cache_util"]) < 0.01


def test_an_answer_larger_than_the_cache_is_given_all_the_same(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = start(cache=["local,size=4096"])
    large = tensor(*range(2000))
    with caplog.at_level(logging.WARNING):
        counts = [int(server.infer("f", {"IN": large})["COUNT"][0]) for _ in range(2)]
    assert counts == [1, 2]
    assert "an answer is not kept" in caplog.text


def test_hits_count_against_limits_only_while_they_last(start: Start, function: Counting) -> None:
    parameters = {
        "max_inflight_requests": {"string_value": "1"},
        "deadline_seconds": {"string_value": "3600"},
    }
    server = start(config={**CACHED, "parameters": parameters}, max_inflight_requests=1)
    assert [count(server, 1) for _ in range(5)] == [1] * 5
    assert server.model("f").in_flight() == 0
    [statistics] = server.statistics("f")
    assert (statistics.success.count, statistics.fail.count, statistics.cache_hit.count) == (5, 0, 4)
