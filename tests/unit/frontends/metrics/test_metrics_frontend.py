"""The metrics port."""

import pytest
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import Client, request

from atoll.frontends.metrics.frontend import MetricsFrontend, MetricsOptions


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
