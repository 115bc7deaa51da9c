"""A Python model in what a collector gets: its own spans, and those that the OpenTelemetry SDK makes in it."""

from pathlib import Path

import numpy as np
import pytest
from tests.telemetry.receiver import running
from tests.unit.server.python_repository import serving, write_python

MODEL = """
import json
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

class TritonPythonModel:
    def initialize(self, args):
        self.tracer = TracerProvider().get_tracer("m")
    def execute(self, requests):
        return [self.each(request) for request in requests]
    def each(self, request):
        trace = request.trace()
        with trace.span("whole", {"rows": 3}):
            with trace.span("part") as part:
                part.set_attribute("share", 0.5)
        context = TraceContextTextMapPropagator().extract(json.loads(trace.get_context()))
        with self.tracer.start_as_current_span("work", context=context) as span:
            note(NOTES, f"{span.context.trace_id:032x} {span.parent.span_id:016x}")
        try:
            with trace.span("fails"):
                raise ValueError("no voice")
        except ValueError:
            return answer(value(request))
"""


@pytest.mark.parametrize("placement", ["process", "thread"])
def test_a_models_own_spans_are_parts_of_its_computation(tmp_path: Path, placement: str) -> None:
    notes = write_python(tmp_path, "m", MODEL, parameters={"isolation": placement})
    with running() as receiver:
        config = ["mode=opentelemetry", f"opentelemetry,url={receiver.url}", "level=TIMESTAMPS", "rate=1"]
        with serving(tmp_path, trace_config=config) as server:
            server.infer("m", {"IN": np.array([1], np.float32)})
        spans = {one.name: one for one in receiver.wait(lambda spans: len(spans) >= 7)}
    compute, whole, part, fails = spans["compute"], spans["whole"], spans["part"], spans["fails"]
    assert [one.parent for one in (whole, part, fails)] == [compute.id, whole.id, compute.id]
    assert len({one.trace for one in spans.values()}) == 1
    assert whole.attributes == {"rows": 3}
    assert part.attributes == {"share": 0.5}
    assert [one.status for one in (whole, part, fails)] == ["UNSET", "UNSET", "ERROR"]
    assert fails.message == "ValueError: no voice"
    assert compute.start_ns <= whole.start_ns <= part.start_ns <= part.end_ns <= whole.end_ns <= fails.start_ns
    assert fails.end_ns <= spans["InferRequest"].end_ns
    assert notes.read_text().split() == [spans["m"].trace, spans["m"].id]
