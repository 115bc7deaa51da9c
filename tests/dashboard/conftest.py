"""A server with models that are well, slow and broken, and its page in a real browser."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from tests import browser as browsing
from tests.browser import browser
from tests.conformance.model_folders import write_identity, write_model

import atoll
from atoll.errors import AtollError

__all__ = ["browser"]

HOSTILE = "<img src=x onerror=alert(1)>\u202e"
SPOILT = 'backend: "no-such-backend"\n'


def doubled(X: Any) -> dict[str, Any]:  # noqa: N803
    return {"Y": X * 2}


def broken(X: Any) -> dict[str, Any]:  # noqa: N803
    raise RuntimeError(f"the table has no row 17 {HOSTILE}")


def held(X: Any) -> dict[str, Any]:  # noqa: N803
    time.sleep(0.05)
    return {"Y": X}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_identity(folder, "echo")
    write_model(folder, "spoilt", SPOILT)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[atoll.Server]:
    server = atoll.Server(repository, model_control_mode="explicit")
    for name, function in (("doubles", doubled), ("fails", broken), ("waits", held)):
        server.add_model(
            name, function, inputs={"X": ("FP32", [2])}, outputs={"Y": ("FP32", [2])}, batching={"max_batch_size": 4}
        )
    with server:
        yield server


@pytest.fixture(scope="module")
def listener(server: atoll.Server) -> Iterator[Any]:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        yield listener


@contextmanager
def opened(browser: Browser, port: int, *, quiet: bool = True, **context: Any) -> Iterator[Page]:
    """The page of the server at this port. `quiet`: nothing that it asks for is refused."""
    with browsing.opened(browser, f"http://127.0.0.1:{port}/dashboard", refusals=not quiet, **context) as page:
        yield page


@pytest.fixture
def page(browser: Browser, listener: Any) -> Iterator[Page]:
    with opened(browser, listener.http_port) as page:
        page.locator("#models tbody tr").first.wait_for()
        yield page


class Traffic:
    """Requests to a model one after the other, on a thread, until it ends."""

    def __init__(self, server: atoll.Server, model: str, clients: int = 1):
        self._server, self._model = server, model
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(clients)]

    def _send(self) -> None:
        while not self._ended.wait(0.005):
            with suppress(AtollError):
                self._server.infer(self._model, {"X": np.zeros((1, 2), np.float32)}, request_id=HOSTILE)

    def __enter__(self) -> None:
        for one in self._threads:
            one.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for one in self._threads:
            one.join()


def row(page: Page, model: str, version: str = "1") -> Any:
    """A model's row in the table."""
    title = f"{model} version {version}" if version else model
    return page.locator("#models tbody tr", has=page.get_by_role("button", name=title, exact=True)).first


def cell(page: Page, model: str, label: str) -> Any:
    return row(page, model).locator(f"td[data-label='{label}']")


def kept(page: Page) -> dict[str, Any]:
    """What the page keeps in the tab."""
    found = json.loads(page.evaluate("sessionStorage.getItem('atoll-dashboard')") or "{}")
    assert isinstance(found, dict)
    return found
