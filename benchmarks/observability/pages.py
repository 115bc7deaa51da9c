"""How long the pages of a server with many models are, and how long it takes to give one."""

import gzip
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.observability.asking import PageReader, Sweep
from benchmarks.observability.plan import METRICS, OPEN_DASHBOARD, Page, Part
from benchmarks.samples import Spread, spread
from benchmarks.servers import RunningServer


@dataclass(frozen=True)
class PageCost:
    """Of one page, asked for several times with nothing else to do. `active`: each time after every model was asked.

    `sent`: bytes as they travelled; `lines`: of the text; `ms`: from the first byte of the request to the last of the
    page, one a time; `cpu_ms`: the server's processor time for one, in the mean.
    """

    path: str
    gzip: bool
    models: int
    active: bool
    sent: int
    lines: int
    ms: list[float]
    cpu_ms: float

    @property
    def spread(self) -> Spread:
        found = spread(self.ms)
        assert found is not None, "a page is asked for at least once. This is a bug"
        return found

    def document(self) -> dict[str, Any]:
        return asdict(self)


def pages(parts: Sequence[Part]) -> list[Page]:
    """Those of these parts."""
    found = []
    if "scrape" in parts:
        found += [Page(METRICS, 0, metrics_port=True, gzip=zipped) for zipped in (False, True)]
    if "dashboard" in parts:
        found.append(OPEN_DASHBOARD)
    return found


def page_costs(server: RunningServer, page: Page, models: Sequence[str], times: int) -> Iterator[PageCost]:
    """With all models idle, and with all active. Raises LoadError."""
    sweep = Sweep(server, models)
    try:
        with PageReader(server, page) as reader:
            reader.read()  # nothing is made for the first time in one that counts
            for active in (False, True):
                yield _cost(server, page, reader, sweep if active else None, len(models), times)
    finally:
        sweep.close()


def _cost(
    server: RunningServer, page: Page, reader: PageReader, sweep: Sweep | None, models: int, times: int
) -> PageCost:
    took: list[float] = []
    used = 0.0
    body = b""
    for _ in range(times):
        time.sleep(page.kept_s)
        if sweep is not None:
            sweep.run()
        before = server.cpu_seconds()
        fetched = reader.read()
        used += server.cpu_seconds() - before
        body = fetched.body
        took.append(fetched.ms)
    text = gzip.decompress(body) if page.gzip else body
    cpu_ms = used / times * 1000
    return PageCost(page.path, page.gzip, models, sweep is not None, len(body), text.count(b"\n"), took, cpu_ms)
