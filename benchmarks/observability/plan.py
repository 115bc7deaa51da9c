"""What is watched while a server works, what it is compared with, and the bound to keep: data only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.plan import PROTOCOLS, Case, Protocol, Tensor

Part = Literal["recording", "scrape", "dashboard", "tracing"]
PARTS: tuple[Part, ...] = ("recording", "scrape", "dashboard", "tracing")

RECORDING_US = 2.0
"""Processor time that recording may add to a request, in microseconds."""

BATCHES = (1, 8, 32)
"""Requests in a batch, where batches are recorded."""


@dataclass(frozen=True)
class Page:
    """A document that somebody asks for again and again. `metrics_port`: on the port of the metrics, not HTTP's.
    `kept_s`: for so long the server may give the same one again.
    """

    path: str
    every_s: float
    metrics_port: bool = False
    gzip: bool = False
    kept_s: float = 0.0


METRICS = "/metrics"
DASHBOARD = "/dashboard/data"
OPEN_DASHBOARD = Page(DASHBOARD, every_s=2.0, kept_s=1.0)
STRETCH: dict[Part, int] = {"dashboard": 2}  # longer measurements, where too few pages would be asked for in one


@dataclass(frozen=True)
class Condition:
    """What goes on beside the load. `baseline`: the title of the one that it is compared with; "": it is one itself.

    `all_active`: every other model is asked once a second too, so that all have new figures.
    """

    part: Part
    title: str
    baseline: str = ""
    page: Page | None = None
    all_active: bool = False


_QUIET, _ALL_ACTIVE, _CLOSED = "no scrape", "no scrape, all models active", "no dashboard"


def conditions(parts: Sequence[str], interval_s: float) -> list[Condition]:
    """Those of the server with many models."""
    scrape = Page(METRICS, interval_s, metrics_port=True)
    zipped = Page(METRICS, interval_s, metrics_port=True, gzip=True)
    words = f"every {interval_s:g} s"
    found = (
        Condition("scrape", _QUIET),
        Condition("scrape", f"scrape {words}", _QUIET, scrape),
        Condition("scrape", f"scrape {words}, gzip", _QUIET, zipped),
        Condition("scrape", _ALL_ACTIVE, all_active=True),
        Condition("scrape", f"scrape {words}, gzip, all models active", _ALL_ACTIVE, zipped, all_active=True),
        Condition("dashboard", _CLOSED),
        Condition("dashboard", "dashboard open", _CLOSED, OPEN_DASHBOARD),
    )
    return [one for one in found if one.part in parts]


MANY_CLIENTS = (1, 8)
"""Clients of the one model under load, where there are many."""

SMALL_INPUTS = (Tensor("INPUT0", "INT32", (16,)), Tensor("INPUT1", "INT32", (16,)))
"""Of examples/models/simple, which the many models are copies of."""

Mode = Literal["triton", "opentelemetry"]
MODES: tuple[Mode, ...] = ("triton", "opentelemetry")
OFF = "off"
RATES = (1000, 100, 1)
TRACE_CLIENTS = (8,)
LOG_FREQUENCY = 1000
"""Traces in a file: the real server would keep all of them until it ends if there were one file only."""
EXPORT = ("bsp_max_queue_size=65536", "bsp_schedule_delay=200", "bsp_max_export_batch_size=2048")
"""Of both servers alike: with a queue of 2,048 spans most would be dropped, and cost nothing more."""
EXPORT_SECONDS = 0.6
"""Until what is left in the queue must have arrived."""

_IDENTITY = (Tensor("INPUT0", "FP32", (16,)),)
TRACED: tuple[tuple[Case, tuple[Protocol, ...]], ...] = (
    (Case("atoll", "simple", SMALL_INPUTS), PROTOCOLS),
    (Case("atoll", "python_identity", _IDENTITY), ("grpc",)),
    (Case("rival", "python_identity", _IDENTITY), ("grpc",)),
)
"""What is asked for, and over which protocols. Over HTTP the real server 2.51 dies of a segmentation fault while it
exports the traces of every request; the Python model is there to be compared with its.
"""


def rate_title(rate: int) -> str:
    """A rate of traces as a condition; 0: none are made."""
    return f"rate={rate}" if rate else OFF
