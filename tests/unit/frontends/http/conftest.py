import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
import uvloop
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import Client

from atoll.frontends.http.frontend import HttpFrontend, HttpOptions
from atoll.frontends.http.limits import ConnectionLimits


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops: the one that the server uses, and the one that embedding programs may have."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """With clients that send no more: the tests need not wait for it."""
    monkeypatch.setattr("atoll.frontends.http.connection.HALF_CLOSED_S", 0.02)


class Running:
    """A frontend that listens, and its clients."""

    def __init__(self, frontend: HttpFrontend, server: FakeServer):
        self.frontend = frontend
        self.server = server
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = await Client.connect(self.frontend.addresses[0])
        self.clients.append(client)
        return client


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    """Starts a frontend with the given limits."""
    async with contextlib.AsyncExitStack() as stack:

        async def starter(**limits: float) -> Running:
            server = FakeServer()
            options = HttpOptions(port=0, limits=ConnectionLimits(**limits))  # type: ignore[arg-type]
            running = Running(HttpFrontend(server, options), server)  # type: ignore[arg-type]
            await running.frontend.start()
            stack.push_async_callback(running.frontend.stop)
            stack.callback(lambda: [client.close() for client in running.clients])
            return running

        yield starter


@pytest.fixture
async def running(start: Callable[..., Awaitable[Running]]) -> Running:
    return await start()
