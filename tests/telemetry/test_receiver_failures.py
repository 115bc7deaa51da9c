"""A receiver that is not there, slow, wrong or hostile costs spans, which are counted and told; never requests, and
never memory without end.
"""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from tests.conformance.process import wait_until
from tests.telemetry.receiver import Receiver, running
from tests.telemetry.trees import COMPUTED, check, tree

from atoll import Server
from atoll.errors import AtollError
from atoll.observability.tracing import span_exporter, span_exports
from atoll.observability.tracing.export_settings import ExportSettings
from atoll.observability.tracing.record import Record
from atoll.observability.tracing.settings import TraceSettings
from atoll.observability.tracing.span_exports import SpanExports
from atoll.observability.tracing.tracer import Tracer
from atoll.request import InferenceRequest, InferenceResponse

SPANS = 5  # of a request to a model of arrays


@contextmanager
def serving(url: str, *more: str) -> Iterator[Server]:
    config = ("mode=opentelemetry", "level=TIMESTAMPS", "rate=1", f"opentelemetry,url={url}")
    with Server(trace_config=[*config, "opentelemetry,bsp_schedule_delay=20", *more]) as server:
        specs = {"inputs": {"IN": ("FP32", [-1])}, "outputs": {"OUT": ("FP32", [-1])}}
        server.add_model("double", lambda IN: {"OUT": IN * 2}, **specs)  # noqa: N803
        yield server


def ask(server: Server, id: str = "") -> None:
    answer = server.infer("double", {"IN": np.ones(2, np.float32)}, request_id=id)
    assert answer["OUT"].tolist() == [2.0, 2.0]


def nobody() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}/v1/traces"


def lost(server: Server) -> int:
    exports = server.tracing._destination
    assert isinstance(exports, SpanExports)
    return exports._exporter.lost


def test_requests_of_the_program_itself_are_exported_too(receiver: Receiver) -> None:
    with serving(receiver.url) as server:
        ask(server, "mine")
        spans = receiver.wait(lambda spans: len(spans) == SPANS)
        with pytest.raises(AtollError):
            server.infer("nobody", {"IN": np.ones(2, np.float32)})
    root = check(spans)
    assert tree(spans, root) == {"double": COMPUTED}
    assert root.kind == "INTERNAL"  # nobody has asked from outside


def test_only_one_of_rate_and_as_many_as_count_are_exported(receiver: Receiver) -> None:
    with serving(receiver.url, "rate=3", "count=2") as server:
        for number in range(12):
            ask(server, str(number))
    asked = sorted(span.attributes["triton.request_id"] for span in receiver.spans if span.name == "InferRequest")
    assert asked == ["2", "5"]


def test_nobody_to_receive_costs_spans_only(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0.2")
    with caplog.at_level(logging.WARNING), serving(nobody()) as server:
        for _ in range(50):
            ask(server)
    assert lost(server) == 50 * SPANS
    said = [record for record in caplog.records if "spans are lost" in record.getMessage()]
    assert 1 <= len(said) <= 2  # at once, and at the end
    assert sum(record.args[0] for record in said) == 50 * SPANS  # type: ignore[index, misc]
    others = [record.name for record in caplog.records if record.name.startswith("opentelemetry")]
    assert not others, "each lost batch would be a line of its own"


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_be_tried_again_is(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda number: status if number < 1 else 200
    with serving(receiver.url) as server:
        ask(server)
        receiver.wait(lambda spans: len(spans) == SPANS)
    assert lost(server) == 0


def test_what_is_refused_is_lost_and_what_follows_arrives(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answer = lambda number: 500 if number < 1 else 200
    with caplog.at_level(logging.WARNING), serving(receiver.url) as server:
        ask(server, "before")
        receiver.wait_exports(1)
        ask(server, "after")
        receiver.wait(lambda spans: any(span.attributes.get("triton.request_id") == "after" for span in spans))
    assert lost(server) + len(receiver.spans) == 2 * SPANS
    assert "500" in caplog.text


def test_while_a_receiver_is_slow_a_bounded_number_waits_and_whole_traces_are_lost(receiver: Receiver) -> None:
    go_on = threading.Event()

    def slowly(number: int) -> int:
        go_on.wait(30)
        return 200

    receiver.answer = slowly
    with serving(receiver.url, "opentelemetry,bsp_max_queue_size=50") as server:
        ask(server)
        receiver.wait_exports(1)
        for _ in range(100):
            ask(server)
        exports = server.tracing._destination
        assert isinstance(exports, SpanExports)
        wait_until(lambda: exports._handed + exports._exporter.lost == 101 * SPANS, "spans that are handed on or lost")
        assert exports._processor is not None
        assert exports._handed - exports._exporter.taken <= 50
        go_on.set()
    assert lost(server) == 101 * SPANS - len(receiver.spans) > 0
    traces = {span.trace for span in receiver.spans}
    assert all(len(receiver.trace(one)) == SPANS for one in traces), "a part of a trace says less than none"


def test_the_end_of_a_server_waits_for_a_receiver_for_a_bounded_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(span_exports, "CLOSE_TIMEOUT_S", 0.3)
    go_on = threading.Event()
    receiver.answer = lambda number: 200 if go_on.wait(30) else 500
    with caplog.at_level(logging.WARNING), serving(receiver.url) as server:
        for _ in range(4):
            ask(server)
    assert lost(server) == 4 * SPANS
    assert "the server ended before they were exported" in caplog.text
    go_on.set()


@pytest.mark.parametrize("status", ["200 OK", "307 Temporary Redirect\r\nLocation: http://localhost:1/elsewhere"])
def test_an_answer_without_an_end_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    monkeypatch.setattr(span_exporter, "MAX_ANSWER", 100_000)
    sent: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
                try:
                    while sum(sent) < 100 << 20:
                        sent.append(connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n"))
                except OSError:
                    return

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with serving(f"http://127.0.0.1:{listening.getsockname()[1]}/v1/traces") as server:
            ask(server)
            exports = server.tracing._destination
            assert isinstance(exports, SpanExports)
            wait_until(lambda: exports._exporter.taken == SPANS, "export")
        thread.join(30)
        assert not thread.is_alive(), "it has been told to stop"
    assert sum(sent) < 50 << 20
    if status == "200 OK":
        assert lost(server) == 0
    else:  # spans that went nowhere are told
        assert lost(server) == SPANS
        assert "the receiver answers 307: go to 'http://localhost:1/elsewhere'" in caplog.text


class Quiet:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """To nobody."""


def made(exports_url: str, note: Any, **settings: Any) -> Tracer:
    """A tracer to which one request was given, which notes what `note` says."""
    export = ExportSettings(url=exports_url, bsp_schedule_delay=20, **settings)
    tracer = Tracer(TraceSettings(levels=("TIMESTAMPS",), rate=1, export=export))
    request = InferenceRequest("m", {}, Quiet())
    part = tracer.begin(request)
    assert part is not None
    note(part)
    request.sender.send(None, True)
    return tracer


def test_a_trace_larger_than_the_queue_is_cut(receiver: Receiver) -> None:
    from atoll.request import ModelSpan

    tracer = made(
        receiver.url,
        lambda part: part.note([ModelSpan(str(number), 1, 2) for number in range(100)]),
        bsp_max_queue_size=10,
    )
    tracer.close()
    assert len(receiver.spans) == 10
    assert receiver.spans[0].name == "InferRequest"  # parents before children
    assert tracer._destination._exporter.lost == 92  # type: ignore[attr-defined]


def test_texts_and_numbers_that_cannot_be_sent_do_not_cost_the_batch(receiver: Receiver) -> None:
    from atoll.request import ModelSpan

    attributes = {"large": 2**80, "lone \udc80": "\udc80", "long": "x" * 100_000, "fine": 1.5, "yes": True}
    span = ModelSpan("name \udc80", 1, 2, attributes=attributes, error="\udc80" * 100_000)
    tracer = made(receiver.url, lambda part: part.note([span]))
    tracer.close()
    [got] = [one for one in receiver.spans if one.name.startswith("name")]
    assert got.attributes["large"] == str(2**80)
    assert len(got.attributes["long"]) == span_exports.MAX_TEXT
    assert (got.attributes["fine"], got.attributes["yes"]) == (1.5, True)
    assert got.status == "ERROR"


def test_records_that_come_too_fast_are_counted(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    from atoll.observability.tracing import record_thread

    monkeypatch.setattr(record_thread, "MAX_WAITING", 1)
    exports = SpanExports(ExportSettings(url=receiver.url, bsp_schedule_delay=20))
    taken: list[Record] = []
    busy, go_on = threading.Event(), threading.Event()
    export = exports._thread._write

    def slowly(records: Any, indexed: bool, lost: int) -> None:
        busy.set()
        go_on.wait(30)
        export(records, indexed, lost)

    exports._thread._write = slowly
    for number in range(4):
        record = Record(
            timestamps=True,
            tensors=False,
            context=None,
            next_id=lambda: 1,
            collect=taken.append,
            trace_id=number + 1,
        )
        part = record.begin(None, "m")
        assert part is not None
        part.end()
        exports.write([record], False)
        assert busy.wait(30)  # the first is being exported, the second waits, two are lost
    go_on.set()
    exports.close()
    assert len({span.trace for span in receiver.spans}) == 2
    assert exports._exporter.lost == 2


def test_a_server_needs_no_receiver_to_start_or_stop() -> None:
    with serving(nobody()):
        pass
    assert not [one for one in threading.enumerate() if one.name.startswith("OtelBatch")]


def test_two_servers_in_a_process_export_to_two_receivers(receiver: Receiver) -> None:
    with running() as other, serving(receiver.url) as one, serving(other.url) as two:
        ask(one, "one")
        ask(two, "two")
        for place, id in ((receiver, "one"), (other, "two")):
            spans = place.wait(lambda spans: len(spans) == SPANS)
            assert {span.attributes.get("triton.request_id", id) for span in spans} == {id}
