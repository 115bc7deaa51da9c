"""The endpoints that register memory of clients. Those of GPUs' memory may have to wake a GPU, on another thread."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from atoll.errors import InvalidArgumentError, UnsupportedError
from atoll.frontends.apis import Api
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import JSON, Answer
from atoll.frontends.http.calling import answer_later
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Endpoint, Route
from atoll.frontends.shared_memory.regions import OFF, RegionTable
from atoll.protocol.region_requests import cuda_document, cuda_from_json, system_document, system_from_json

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

SYSTEM = "/v2/systemsharedmemory"
CUDA = "/v2/cudasharedmemory"


class SharedMemoryEndpoints:
    """For one event loop. `regions` None: clients may share no memory, and every endpoint says so."""

    def __init__(self, regions: RegionTable | None, loop: "AbstractEventLoop"):
        self._regions = regions
        self._calls = BlockingCalls(loop, "CUDA shared memory", threads=2)

    def routes(self) -> Sequence[Route]:
        """Web pages of other origins are refused: what is registered can be read and written."""
        return [*self._kind(SYSTEM, _System), *self._kind(CUDA, partial(_Cuda, self._calls))]

    def close(self) -> None:
        """The server is stopping."""
        self._calls.close()

    def _kind(self, prefix: str, made: "Callable[[RegionTable], _System | _Cuda]") -> list[Route]:
        if self._regions is None:
            status = unregister = register = nameless = _refuse
        else:
            kind = made(self._regions)
            status, unregister, register, nameless = kind.status, kind.unregister, kind.register, kind.nameless
        table: list[tuple[str, str, Endpoint]] = [
            ("GET", "/status", status),
            ("GET", "/region/{region}/status", status),
            ("POST", "/unregister", unregister),
            ("POST", "/region/{region}/unregister", unregister),
            ("POST", "/register", nameless),
            ("POST", "/region/{region}/register", register),
        ]
        return [Route(method, prefix + path, one, Api.SHARED_MEMORY, control=True) for method, path, one in table]


def _refuse(exchange: Exchange, body: memoryview) -> Answer | None:
    raise UnsupportedError(OFF)


def _region_of(exchange: Exchange) -> str:
    return exchange.head.arguments.get("region", "")


class _System:
    def __init__(self, regions: RegionTable):
        self._regions = regions

    def status(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return answers.document([system_document(one) for one in self._regions.system_regions(_region_of(exchange))])

    def register(self, exchange: Exchange, body: memoryview) -> Answer | None:
        self._regions.register_system(system_from_json(_region_of(exchange), body))
        return Answer(200, [], headers=JSON)

    def unregister(self, exchange: Exchange, body: memoryview) -> Answer | None:
        self._regions.unregister_system(_region_of(exchange))
        return Answer(200, [], headers=JSON)

    def nameless(self, exchange: Exchange, body: memoryview) -> Answer | None:
        raise InvalidArgumentError("'region name' is necessary to register system shared memory region")


class _Cuda:
    def __init__(self, calls: BlockingCalls, regions: RegionTable):
        self._calls = calls
        self._regions = regions

    def status(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return answers.document([cuda_document(one) for one in self._regions.cuda_regions(_region_of(exchange))])

    def register(self, exchange: Exchange, body: memoryview) -> Answer | None:
        wanted = cuda_from_json(_region_of(exchange), body)
        return answer_later(exchange, self._calls, lambda: _done(self._regions.register_cuda, wanted))

    def unregister(self, exchange: Exchange, body: memoryview) -> Answer | None:
        name = _region_of(exchange)
        return answer_later(exchange, self._calls, lambda: _done(self._regions.unregister_cuda, name))

    def nameless(self, exchange: Exchange, body: memoryview) -> Answer | None:
        raise InvalidArgumentError("'region name' is necessary to register cuda shared memory region")


def _done(work: Callable[[Any], None], argument: Any) -> Answer:
    work(argument)
    return Answer(200, [], headers=JSON)
