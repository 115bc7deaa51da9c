"""Every kind of request to a server that exports its traces: which spans arrive, and whose children they are.

Names, parents, attributes and events of InferRequest, the models and compute are those that the real server exported
when it was asked the same; queue and batch are ours.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tests.conformance.metrics import sample
from tests.conformance.model_folders import write_model
from tests.conformance.process import ServerProcess, start_atoll, wait_until
from tests.conformance.tracing import scenarios
from tests.conformance.tracing.scenarios import PARENT, infer, infer_grpc, stream_grpc
from tests.telemetry.receiver import Receiver, Span, running
from tests.telemetry.trees import COMPUTED, check, tree

_SLOW = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for one in requests:
            array = pb_utils.get_input_tensor_by_name(one, "IN").as_numpy()
            end = time.monotonic() + 20
            while array[0][0] == 9 and not one.is_cancelled() and time.monotonic() < end:
                time.sleep(0.01)
            if one.is_cancelled():
                error = pb_utils.TritonError("given up", pb_utils.TritonError.CANCELLED)
                answers.append(pb_utils.InferenceResponse(error=error))
            else:
                answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]))
        return answers
"""
_SLOW_CONFIG = """
backend: "python"
max_batch_size: 8
input [{ name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] }]
instance_group [{ count: 1 kind: KIND_CPU }]
"""
_TELLING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        trace = request.trace()
        tensor = pb_utils.get_input_tensor_by_name(request, "IN")
        with trace.span("prepare", {"rows": 1}) as span:
            span.set_attribute("language", "en")
            with trace.span("look up"):
                made = pb_utils.InferenceRequest(
                    model_name="nobody", inputs=[tensor], requested_output_names=["OUT"], trace=trace
                )
                assert made.exec().has_error()
        try:
            with trace.span("give up"):
                raise ValueError("too hard")
        except ValueError:
            pass
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", tensor.as_numpy())])
"""
_THREAD = 'parameters { key: "isolation" value { string_value: "thread" } }'


@dataclass
class Exporting:
    """A server, and who receives its spans."""

    server: ServerProcess
    receiver: Receiver

    def spans_of(self, id: str, count: int) -> list[Span]:
        """The spans of the trace of the client's request with this id, when so many are there."""

        def of(spans: list[Span]) -> list[Span]:
            traces = {span.trace for span in spans if span.attributes.get("triton.request_id") == id}
            return [span for span in spans if span.trace in traces]

        found = of(self.receiver.wait(lambda spans: len(of(spans)) >= count))
        assert len(found) == count, found
        return found


@pytest.fixture(scope="module")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporting]:
    folder = tmp_path_factory.mktemp("exporting")
    models = scenarios.write_models(folder / "models")
    write_model(models, "slow", _SLOW_CONFIG, _SLOW)
    write_model(models, "telling", _SLOW_CONFIG, _TELLING)
    write_model(models, "telling_in_a_thread", _SLOW_CONFIG + _THREAD, _TELLING)
    with running() as receiver:
        settings = ("mode=opentelemetry", "level=TIMESTAMPS", "rate=1", f"opentelemetry,url={receiver.url}")
        more = ("opentelemetry,bsp_schedule_delay=50", "opentelemetry,resource=team=vision")
        options = [f"--trace-config={one}" for one in (*settings, *more)]
        with start_atoll(models, folder / "log", scenarios.CACHE, *options) as server:
            yield Exporting(server, receiver)


def named(spans: list[Span], name: str) -> Span:
    [found] = [span for span in spans if span.name == name]
    return found


def test_a_request_is_five_spans_with_the_real_servers_names(exporting: Exporting) -> None:
    infer(exporting.server, "echo", "plain")
    spans = exporting.spans_of("plain", 5)
    root = check(spans)
    assert root.name == "InferRequest"
    assert tree(spans, root) == {"echo": COMPUTED}
    assert root.kind == "SERVER"
    assert {span.kind for span in spans if span is not root} == {"INTERNAL"}
    assert {span.status for span in spans} == {"UNSET"}
    assert {span.scope for span in spans} == {"triton-server"}
    assert root.event_names == [
        *("HTTP_RECV_START", "HTTP_RECV_END", "INFER_RESPONSE_COMPLETE", "HTTP_SEND_START", "HTTP_SEND_END")
    ]
    model, batch, compute = (named(spans, name) for name in ("echo", "batch", "compute"))
    assert model.event_names == ["REQUEST_START", "QUEUE_START", "REQUEST_END"]
    assert model.attributes.keys() == {f"triton.{name}" for name in _MODEL_ATTRIBUTES}
    assert model.attributes["triton.model_name"] == "echo"
    assert model.attributes["triton.model_version"] == 1
    assert model.attributes["triton.trace_parent_id"] == 0
    assert compute.event_names == ["COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END"]
    assert batch.attributes == {"atoll.batch.size": 1, "atoll.batch.requests": 1, "atoll.instance": "echo_0_0"}
    assert root.resource["service.name"] == "triton-inference-server"
    assert root.resource["team"] == "vision"
    assert root.resource["telemetry.sdk.name"] == "opentelemetry"


_MODEL_ATTRIBUTES = ("model_name", "model_version", "trace_id", "trace_parent_id", "request_id")


def test_a_batch_says_how_many_were_in_it(exporting: Exporting) -> None:
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda name: infer(exporting.server, "batched", name), ("first", "second")))
    for name in ("first", "second"):
        spans = exporting.spans_of(name, 5)
        check(spans)
        batch = named(spans, "batch")
        assert (batch.attributes["atoll.batch.size"], batch.attributes["atoll.batch.requests"]) == (2, 2)


def test_steps_and_calls_are_children_of_the_models_that_made_them(exporting: Exporting) -> None:
    infer(exporting.server, "steps", "whole")
    spans = exporting.spans_of("whole", 14)
    root = check(spans)
    assert tree(spans, root) == {"steps": {"echo": COMPUTED, "calls": {**COMPUTED, "echo": COMPUTED}}}
    numbers = {span.id: span.attributes["triton.trace_id"] for span in spans if "triton.trace_id" in span.attributes}
    for span in spans:
        if "triton.trace_id" in span.attributes:
            assert span.attributes["triton.trace_parent_id"] == numbers.get(span.parent, 0)


def test_a_call_that_does_not_hand_the_trace_on_is_none_of_it(exporting: Exporting) -> None:
    infer(exporting.server, "calls", "alone")
    spans = exporting.spans_of("alone", 5)
    assert tree(spans, check(spans)) == {"calls": COMPUTED}


def test_what_the_cache_answers_is_not_computed(exporting: Exporting) -> None:
    infer(exporting.server, "cached", "missed")
    spans = exporting.spans_of("missed", 5)
    assert tree(spans, check(spans)) == {"cached": COMPUTED}
    infer(exporting.server, "cached", "hit")
    spans = exporting.spans_of("hit", 2)
    assert tree(spans, check(spans)) == {"cached": {}}


def test_a_failure_is_told_with_its_text(exporting: Exporting) -> None:
    infer(exporting.server, "failing", "failing")
    spans = exporting.spans_of("failing", 5)
    assert tree(spans, check(spans)) == {"failing": COMPUTED}
    failed = {span.name for span in spans if (span.status, span.message) == ("ERROR", "it fails")}
    assert failed == {"InferRequest", "failing", "compute"}


def test_a_refused_request_is_told_with_its_text(exporting: Exporting) -> None:
    tensor = {"name": "WRONG", "datatype": "INT32", "shape": [1, 2], "data": [1, 2]}
    body = json.dumps({"id": "refused", "inputs": [tensor]}).encode()
    assert exporting.server.exchange("POST", "/v2/models/echo/infer", body=body).status == 400
    spans = exporting.spans_of("refused", 2)
    assert tree(spans, check(spans)) == {"echo": {}}
    assert {(span.status, span.message) for span in spans} == {
        ("ERROR", "unexpected inference input 'WRONG' for model 'echo'")
    }


@pytest.mark.parametrize("model", ["telling", "telling_in_a_thread"])
def test_what_a_python_model_says_is_below_compute_and_a_call_in_vain_below_the_model(
    exporting: Exporting, model: str
) -> None:
    infer(exporting.server, model, model)
    spans = exporting.spans_of(model, 9)
    own = {"prepare": {"look up": {}}, "give up": {}}
    root = check(spans)
    assert tree(spans, root) == {model: {"queue": {}, "batch": {"compute": own}, "nobody": {}}}
    assert named(spans, "prepare").attributes == {"rows": 1, "language": "en"}
    assert (named(spans, "give up").status, root.status) == ("ERROR", "UNSET")
    assert "too hard" in named(spans, "give up").message
    assert (named(spans, "nobody").status, named(spans, "nobody").message) == (
        "ERROR",
        "Request for unknown model: 'nobody' is not found",
    )


def test_cancelled_requests_are_told_as_that_running_or_queued(exporting: Exporting) -> None:
    tensor = scenarios._grpc_input()
    tensor.set_data_from_numpy(np.full((1, 2), 9, np.int32))
    answers: list[Any] = []
    with tritonclient.grpc.InferenceServerClient(exporting.server.grpc) as client:
        calls = []
        for number, name in enumerate(("running", "queued"), 1):
            hear = partial(_hear, answers)
            calls.append(client.async_infer("slow", [tensor], hear, request_id=name))
            wait_until(partial(_is_in_flight, exporting.server, "slow", number), "requests in flight", exporting.server)
        for call in reversed(calls):
            call.cancel()
        wait_until(lambda: len(answers) == 2, "answers", exporting.server)
    queued = exporting.spans_of("queued", 3)
    root = check(queued)
    assert tree(queued, root) == {"slow": {"queue": {}}}
    assert (root.status, root.message) == ("ERROR", "request was cancelled before it was executed")
    running = exporting.spans_of("running", 5)
    root = check(running)
    assert tree(running, root) == {"slow": COMPUTED}
    assert (root.status, root.message) == ("ERROR", "given up")


def _hear(answers: list[Any], result: Any, error: Any) -> None:
    answers.append(error)


def _is_in_flight(server: ServerProcess, model: str, wanted: int) -> bool:
    return sample(server, "atoll_inference_in_flight_request_count", model=model) == wanted


def test_over_grpc_it_is_the_same(exporting: Exporting) -> None:
    infer_grpc(exporting.server, "echo", "grpc")
    spans = exporting.spans_of("grpc", 5)
    root = check(spans)
    assert tree(spans, root) == {"echo": COMPUTED}
    assert root.kind == "SERVER"
    assert root.event_names == [
        *("GRPC_WAITREAD_START", "GRPC_WAITREAD_END", "INFER_RESPONSE_COMPLETE", "GRPC_SEND_START", "GRPC_SEND_END")
    ]


@pytest.mark.parametrize(("model", "responses"), [("echo", 1), ("stream", 2)])
def test_a_stream_tells_of_each_response(exporting: Exporting, model: str, responses: int) -> None:
    stream_grpc(exporting.server, model, f"streamed {model}", responses)
    spans = exporting.spans_of(f"streamed {model}", 5)
    root = check(spans)
    assert tree(spans, root) == {model: COMPUTED}
    assert root.event_names.count("GRPC_SEND_START") == root.event_names.count("GRPC_SEND_END") == responses


@pytest.mark.parametrize("ask", [infer, infer_grpc], ids=["http", "grpc"])
def test_a_clients_trace_goes_on_here_and_to_the_model(exporting: Exporting, ask: Callable[..., Any]) -> None:
    trace = f"{7 if ask is infer else 8:032x}"
    client = "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace}-{client}-01", "tracestate": "a=b,c=d"}
    answer = ask(exporting.server, "calls", f"ours {ask.__name__}", headers=headers)
    spans = exporting.receiver.wait(lambda spans: sum(span.trace == trace for span in spans) >= 9)
    spans = [span for span in spans if span.trace == trace]
    root = check(spans, client)
    assert tree(spans, root) == {"calls": {**COMPUTED, "echo": COMPUTED}}
    assert {span.state for span in spans} == {"a=b,c=d"}
    seen = answer.as_numpy("FACTS")[0][0].decode() if ask is infer_grpc else scenarios.facts(answer)
    assert f"00-{trace}-{named(spans, 'echo').id}-01" in seen  # what the called model would hand on
    assert "a=b,c=d" in seen


def test_what_a_client_does_not_record_is_not_recorded_here(exporting: Exporting) -> None:
    text = scenarios.facts(infer(exporting.server, "echo", "unseen", {"traceparent": PARENT[:-1] + "0"}))
    assert PARENT[:-1] + "0" in text  # the model gets it as it came
    infer(exporting.server, "echo", "behind it")
    exporting.spans_of("behind it", 5)
    assert not exporting.receiver.trace(PARENT[3:35])


def test_settings_are_shown_and_changed_as_on_the_real_server(exporting: Exporting) -> None:
    shown = exporting.server.exchange("GET", "/v2/trace/setting").json()
    assert shown == {
        "trace_level": ["TIMESTAMPS"],
        "trace_rate": "1",
        "trace_count": "-1",
        "trace_mode": "opentelemetry",
        "url": exporting.receiver.url,
        "resource": "team=vision",
        "bsp_schedule_delay": "50",
        "bsp_max_export_batch_size": "512",
        "bsp_max_queue_size": "2048",
    }
    with tritonclient.grpc.InferenceServerClient(exporting.server.grpc) as client:
        over_grpc = client.get_trace_settings(as_json=True)["settings"]
        assert {name: value["value"] for name, value in over_grpc.items()} == {
            name: value if isinstance(value, list) else [value] for name, value in shown.items()
        }
        client.update_trace_settings("echo", {"trace_level": ["OFF"]})
    path = "/v2/models/echo/trace/setting"
    headers = {"traceparent": f"00-{9:032x}-{9:016x}-01"}
    infer(exporting.server, "echo", "off", headers)  # a level that is off is off for whoever asks
    changed = exporting.server.exchange("POST", path, body=b'{"trace_level":null,"log_frequency":"3"}')
    assert (changed.status, changed.json()) == (200, shown)
    refused = exporting.server.exchange("POST", path, body=b'{"trace_file":"x"}')
    assert refused.status == 501
    infer(exporting.server, "echo", "on again")
    exporting.spans_of("on again", 5)
    assert not exporting.receiver.trace(f"{9:032x}")


def test_a_server_that_ends_exports_what_is_left(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models, "slow", _SLOW_CONFIG, _SLOW)
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_SERVICE_NAME": "mine"}
    with running() as receiver:
        environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = receiver.url
        environment["OTEL_EXPORTER_OTLP_HEADERS"] = "x-key=secret"
        environment["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"] = "gzip"
        options = [f"--trace-config={one}" for one in ("mode=opentelemetry", "level=TIMESTAMPS", "rate=1")]
        with start_atoll(models, tmp_path / "log", *options, environment={**os.environ, **environment}) as server:
            for number in range(3):
                infer(server, "slow", str(number))
            assert not receiver.spans
            server.terminate()
            assert server.wait() == 0
        assert len(receiver.spans) == 15
        assert receiver.exports[0]["content-encoding"] == "gzip"
        assert receiver.exports[0]["x-key"] == "secret"
        assert receiver.spans[0].resource["service.name"] == "mine"
