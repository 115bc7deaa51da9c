"""The metrics port, and the whole page."""

import gzip
import re
from types import SimpleNamespace

import pytest
from tests.unit.devices.gpu_readings import GPU
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import Client, request
from tests.unit.observability.metrics.reading import samples

from atoll.frontends.metrics.frontend import MetricsFrontend, MetricsOptions
from atoll.frontends.metrics.page import MetricsPage
from atoll.observability.metrics.names import SERVER_FAMILIES
from atoll.observability.metrics.settings import MetricsSettings
from atoll.observability.statistics.measures import DEFAULT_BUCKETS, Measures
from atoll.observability.statistics.recorder import StatisticsRecorder


@pytest.mark.parametrize("cpu", [True, False])
async def test_a_scrape(cpu):
    server = FakeServer()
    family = server.custom_metrics.create_family(server, "seen", "by a model", "counter")
    server.custom_metrics.create_metric(server, family, {"what": "é"})
    frontend = MetricsFrontend(server, MetricsOptions(port=0, cpu=cpu))
    await frontend.start()
    client = await Client.connect(frontend.addresses[0])
    for path in ("/metrics", "/metrics/", "/metrics?x=1"):
        reply = await client.ask(request("GET", path))
        assert (reply.status, reply.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert b'nv_inference_request_success{model="echo",version="1"} 0\n' in reply.body
        assert (b"nv_cpu_utilization" in reply.body) is cpu
        assert reply.body.endswith('# HELP seen by a model\n# TYPE seen counter\nseen{what="é"} 0\n'.encode())
    assert (await client.ask(request("GET", "/v2"))).status == 404
    assert (await client.ask(request("POST", "/metrics"))).status == 405
    client.close()
    await frontend.drain(20)


async def test_who_takes_gzip_gets_it():
    frontend = MetricsFrontend(FakeServer(), MetricsOptions(port=0))
    await frontend.start()
    client = await Client.connect(frontend.addresses[0])
    plain = await client.ask(request("GET", "/metrics"))
    assert "Content-Encoding" not in plain.headers
    packed = await client.ask(request("GET", "/metrics", b"", "Accept-Encoding: gzip"))
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert samples(gzip.decompress(packed.body).decode()).keys() == samples(plain.body.decode()).keys()
    client.close()
    await frontend.drain(20)


async def test_what_goes_wrong_is_an_answer():
    server = FakeServer()
    frontend = MetricsFrontend(server, MetricsOptions(port=0))
    server.models = None
    await frontend.start()
    client = await Client.connect(frontend.addresses[0])
    assert (await client.ask(request("GET", "/metrics"))).status == 500
    del server.models
    assert (await client.ask(request("GET", "/metrics"))).status == 200
    client.close()
    await frontend.drain(20)


def test_settings_that_no_model_was_loaded_with_are_told(caplog):
    server = FakeServer()
    MetricsFrontend(server, MetricsOptions(port=0, settings=MetricsSettings(summary_latencies=True)))
    assert "summary_latencies is counted from a model's load on" in caplog.text
    caplog.clear()
    server.options = SimpleNamespace(metrics_config=["summary_latencies=true"])
    MetricsFrontend(server, MetricsOptions(port=0, settings=MetricsSettings(summary_latencies=True)))
    assert not caplog.text


def whole_page() -> str:
    """With everything that can be on it."""
    server = FakeServer()
    measures = Measures(DEFAULT_BUCKETS, summaries=True, first_responses=True)
    for model in server.counted:
        model.recorder = StatisticsRecorder(
            model.recorder.name, "1", {"_team": 'a"b'}, cached=True, decoupled=True, measures=measures
        )
        model.recorder.record_load(10**9)
    server.counted[0].recorder._refusals["UNAVAILABLE"] = 1
    server.response_cache = SimpleNamespace(
        hits=1, misses=1, lookup_ns=1, insertion_ns=1, utilization=0.5, entries=1, evictions=1
    )
    server.model_memory = lambda: {("echo", "1"): 5}
    family = server.custom_metrics.create_family(server, "own", "", "histogram")
    server.custom_metrics.create_metric(server, family, {"what": "é"}, [1, 2])
    settings = MetricsSettings(histogram_latencies=True, summary_latencies=True)
    page = MetricsPage(server, settings=settings)
    page._gpu = SimpleNamespace(read=lambda: (GPU,))
    return page.text()


def test_the_whole_page_is_what_prometheus_reads_and_every_name_is_known():
    text = whole_page()
    found = {name for name, _ in samples(text)}
    suffixes = {f"{name}{suffix}" for name in ("own",) for suffix in ("_bucket", "_sum", "_count")}
    written = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert found - suffixes <= SERVER_FAMILIES
    assert found | written >= SERVER_FAMILIES
    helped = set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE))
    assert helped == written - {"own"}


def test_a_name_stands_in_one_place_only():
    names = [re.split(r"[{ ]", line)[0] for line in whole_page().splitlines() if not line.startswith("#")]
    runs = [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]
    plain = [name for name in runs if not name.endswith(("_bucket", "_sum", "_count", "_us", "_per_model"))]
    assert plain == list(dict.fromkeys(plain))


def test_memory_of_models_is_asked_once_an_interval():
    server, asked = FakeServer(), []
    server.model_memory = lambda: asked.append(1) or {}
    page = MetricsPage(server, interval_s=1000.0)
    page.text()
    page.text()
    assert len(asked) == 1
