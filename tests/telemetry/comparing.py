"""What the spans of both servers are compared by: names, parents, attributes and events, without moments and ids."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.conformance.process import ServerProcess
from tests.conformance.tracing import scenarios
from tests.telemetry.receiver import Receiver, Span

OURS = ("queue", "batch")  # spans that the real server does not have
OPTIONS = (
    *("mode=opentelemetry", "level=TIMESTAMPS", "rate=1"),
    *("opentelemetry,bsp_schedule_delay=100", "opentelemetry,resource=team=vision"),
)


def options(receiver: Receiver) -> list[str]:
    return [f"--trace-config={one}" for one in (*OPTIONS, f"opentelemetry,url={receiver.url}")]


def ask(server: ServerProcess, receiver: Receiver) -> dict[str, Any]:
    """Each kind of request once; what came of it, when the server has ended."""
    scenarios.ask_everything(server)
    settings = server.exchange("GET", "/v2/trace/setting").json()
    del settings["url"]
    receiver.wait(lambda spans: sum(span.name == "InferRequest" for span in spans) >= REQUESTS)
    server.terminate()
    server.wait()
    resource = {name: value for name, value in receiver.spans[0].resource.items() if "sdk" not in name}
    resource.pop("service.instance.id", None)
    return {"settings": settings, "resource": resource, "spans": summary(receiver.spans)}


REQUESTS = 13  # of clients, that scenarios.ask_everything makes


def summary(spans: Iterable[Span]) -> list[dict[str, Any]]:
    """Each span with the names of those that it is within, from itself outwards; sorted."""
    spans = list(spans)
    by_id = {span.id: span for span in spans}
    found = []
    for span in spans:
        if span.name in OURS:
            continue
        within, above = [], by_id.get(span.parent)
        while above is not None:
            if above.name not in OURS:
                within.append(above.name)
            above = by_id.get(above.parent)
        attributes = {name: value for name, value in span.attributes.items() if not name.endswith("trace_id")}
        attributes.pop("triton.trace_parent_id", None)  # a number, which depends on what was asked before
        found.append(
            {
                "span": [span.name, *within],
                "attributes": attributes if span.name != "InferRequest" else {},  # ours says more
                "events": dict(sorted(Counter(span.event_names).items())),
            }
        )
    return sorted(found, key=lambda one: str(sorted(one.items())))
