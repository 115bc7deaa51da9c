"""The spans of Python models that are served, in processes of their own and in threads: the request's trace has them
before its final response is sent.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.unit.server.python_repository import PATIENCE_S, nothing_left, serving, write_python

import atoll
from atoll.model_spans import MAX_SPANS
from atoll.request import InferenceRequest, InferenceResponse, ModelSpan, Trace
from atoll.tensor import Tensor

pytestmark = pytest.mark.slow  # each test starts processes

PLACEMENTS = ("process", "thread")

NESTED = """
def each(request):
    trace = request.trace()
    with trace.span("whole", {"rows": 2, "share": 0.5}) as whole:
        with trace.span("prepare"):
            pass
        whole.set_attribute("seen", "yes")
    return answer(value(request))
"""
RAISING = """
def each(request):
    with request.trace().span("outer"), request.trace().span("inner"):
        raise ValueError("no voice")
"""
MANY = """
def each(request):
    for n in range(10_000):
        with request.trace().span("s", {"n": n}):
            pass
    return answer(value(request))
"""
NOT_TRACED = """
def each(request):
    one, two = request.trace().span("a"), request.trace().span("b")
    return answer(np.array([one is two], np.float32))
"""
STREAM = """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.run, args=(request, request.get_response_sender())).start()
    def run(self, request, sender):
        trace = request.trace()
        with trace.span("stream"):
            for number in range(3):
                with trace.span("part"):
                    sender.send(answer(np.array([number], np.float32)))
            sender.send(flags=FINAL)
            with trace.span("too late"):
                pass
"""
ASYNC = """
class TritonPythonModel:
    async def execute(self, requests):
        return [await self.each(request) for request in requests]
    async def part(self, trace, n):
        with trace.span(f"part {n}"):
            await asyncio.sleep(0.01)
    async def each(self, request):
        trace = request.trace()
        with trace.span("gather"):
            await asyncio.gather(*(self.part(trace, n) for n in range(3)))
        return answer(value(request))
"""
CALLER = """
def each(request):
    trace = request.trace()
    with trace.span("ask"):
        made = pb.InferenceRequest(
            inputs=[pb.Tensor("IN", value(request))], requested_output_names=["OUT"], model_name="nested", trace=trace
        )
        array = out(made.exec())
    return answer(array)
"""
AGAIN = """
class TritonPythonModel:
    def initialize(self, args):
        self.times = 0
    def execute(self, requests):
        self.times += 1
        with requests[0].trace().span(f"execution {self.times}"), requests[0].trace().span("inner"):
            pass
        if self.times < 3:
            requests[0].set_release_flags(pb.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return [None]
        return [answer(value(requests[0]))]
"""
EXPORTING = """
import json
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
class TritonPythonModel:
    def initialize(self, args):
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("m")
    def execute(self, requests):
        return [self.each(request) for request in requests]
    def each(self, request):
        carrier = json.loads(request.trace().get_context() or "{}")
        context = TraceContextTextMapPropagator().extract(carrier)
        with self.tracer.start_as_current_span("work", context=context):
            pass
        [span] = self.exporter.get_finished_spans()
        self.exporter.clear()
        parent = f"{span.parent.span_id:016x}" if span.parent else "none"
        note(NOTES, f"{span.context.trace_id:032x} {parent}\\n")
        return answer(value(request))
"""
HOSTILE = """
def each(request):
    import atoll.backends.python.hosted as hosted
    if value(request)[0] > 0:
        hosted._Delivery._spans = lambda self: {"spans": [["n", 9, 1, 5, {}, ""]]}
    return answer(value(request))
"""


class RecordingTrace:
    """A Trace, and the sender of its request, which is a batch of one."""

    def __init__(self, number: int = 7, text: str | None = None):
        self.number = number
        self.text = text
        self.noted: list[list[ModelSpan]] = []
        self.joined: list[InferenceRequest] = []
        self.responses: list[InferenceResponse] = []
        self.known_at_end = -1
        self.ended = threading.Event()

    def join(self, request: InferenceRequest) -> None:
        self.joined.append(request)

    def queued(self, request: InferenceRequest, model_name: str, version: str) -> None:
        pass

    def composed(self) -> None:
        pass

    def executed(self, instance: str, batch_size: int, requests: int) -> None:
        pass

    def refused(self, error: BaseException | None = None) -> None:
        pass

    def note(self, spans: Sequence[ModelSpan]) -> None:
        self.noted.append(list(spans))

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self.responses.append(response)
        if final:
            self.known_at_end = len(self.noted)
            self.ended.set()

    @property
    def shape(self) -> list[list[tuple[str, int]]]:
        """Name and parent of each, as they were noted, all before the final response."""
        assert self.known_at_end == len(self.noted)
        return [[(one.name, one.parent) for one in spans] for spans in self.noted]


def ask(server: atoll.Server, model: str, number: int = 7, first: float = 1, text: str | None = None) -> RecordingTrace:
    """A request that is traced under that number, answered; 0: its context only travels along."""
    trace = RecordingTrace(number, text)
    inputs = {"IN": Tensor.from_numpy("IN", np.array([first], np.float32))}
    request = InferenceRequest(model, inputs, trace, id="r")
    typed: Trace = trace
    request.trace = typed
    server.submit(request)
    assert trace.ended.wait(PATIENCE_S), "the request was never answered"
    return trace


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_spans_are_noted_before_the_final_response(tmp_path: Path, placement: str) -> None:
    parameters = {"isolation": placement}
    models = {
        "nested": NESTED,
        "raising": RAISING,
        "many": MANY,
        "untraced": NOT_TRACED,
        "async": ASYNC,
        "again": AGAIN,
    }
    models["caller"] = CALLER
    for name, code in models.items():
        write_python(tmp_path, name, code, parameters=parameters)
    write_python(tmp_path, "stream", STREAM, decoupled=True, parameters=parameters)
    with serving(tmp_path) as server:
        nested = ask(server, "nested")
        assert nested.shape == [[("whole", -1), ("prepare", 0)]]
        [[whole, prepare]] = nested.noted
        assert whole.attributes == {"rows": 2, "share": 0.5, "seen": "yes"}
        assert 0 < whole.start_ns <= prepare.start_ns <= prepare.end_ns <= whole.end_ns

        raising = ask(server, "raising")
        assert raising.shape == [[("outer", -1), ("inner", 0)]]
        assert {one.error for one in raising.noted[0]} == {"ValueError: no voice"}
        assert "no voice" in str(raising.responses[0].error)

        [spans] = ask(server, "many").noted
        assert len(spans) == MAX_SPANS + 1
        assert spans[-1].attributes == {"count": 10_000 - MAX_SPANS}

        untraced = ask(server, "untraced", number=0)
        assert untraced.noted == []
        assert untraced.responses[0].outputs[0].array().tolist() == [1]
        assert ask(server, "untraced").noted == []  # spans that are not entered are none

        stream = ask(server, "stream")
        assert len(stream.responses) == 3
        assert stream.shape == [[("stream", -1), ("part", 0), ("part", 0), ("part", 0)]]
        assert stream.noted[0][0].end_ns >= stream.noted[0][-1].end_ns

        assert ask(server, "async").shape == [[("gather", -1), *((f"part {n}", 0) for n in range(3))]]

        caller = ask(server, "caller")
        assert caller.shape == [[("ask", -1)]]
        assert [one.model_name for one in caller.joined] == ["nested"]

        again = ask(server, "again")
        assert again.shape == [[(f"execution {n}", -1), ("inner", 0)] for n in (1, 2, 3)]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_spans_of_the_opentelemetry_sdk_have_the_context_as_their_parent(tmp_path: Path, placement: str) -> None:
    notes = write_python(tmp_path, "exporting", EXPORTING, parameters={"isolation": placement})
    ids = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with serving(tmp_path) as server:
        for number in (7, 0):
            ask(server, "exporting", number, text=f'{{"traceparent":"00-{ids[0]}-{ids[1]}-01","tracestate":"a=b"}}')
        ask(server, "exporting", 0)
    first, second, alone = notes.read_text().splitlines()
    assert first == second == " ".join(ids)
    assert alone.endswith(" none")


def test_a_process_that_says_nonsense_of_its_spans_is_ended(tmp_path: Path) -> None:
    write_python(tmp_path, "hostile", HOSTILE)
    with serving(tmp_path) as server:
        trace = ask(server, "hostile", first=1)
        assert trace.noted == []
        assert "could not make sense of what it sent: a span" in str(trace.responses[0].error)


def test_spans_are_in_the_trace_file(tmp_path: Path) -> None:
    """`NAME_START` and `NAME_END`, for those who read files of Triton's traces."""
    for placement in PLACEMENTS:
        write_python(tmp_path / "models", placement, NESTED, parameters={"isolation": placement})
    file = tmp_path / "trace.json"
    config = [f"triton,file={file}", "level=TIMESTAMPS", "rate=1"]
    with serving(tmp_path / "models", trace_config=config) as server:
        for placement in PLACEMENTS:
            server.infer(placement, {"IN": np.array([1], np.float32)})
    text = file.read_text()
    for stamp in ("whole_START", "whole_END", "prepare_START", "prepare_END"):
        assert text.count(stamp) == len(PLACEMENTS)
