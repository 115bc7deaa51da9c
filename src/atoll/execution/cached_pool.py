"""A pool behind the response cache: what has been answered already is not executed again.

A hit is answered on the thread that submits it, and never queued; an answer is kept before it goes out. Where that may
take long (a cache that blocks, or tensors so large that they would hold up an event loop) it happens on the cache's own
threads, and so does what follows a lookup there; an answer is then kept a moment later.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic_ns
from typing import Any

from atoll.caching.key import KeyMaker
from atoll.caching.store import Answer, ResponseStore
from atoll.caching.workers import Workers
from atoll.errors import AtollError, CancelledError, InternalError
from atoll.execution.in_flight import InFlight, not_accepted
from atoll.execution.pool_api import Pool
from atoll.observability.logging.extras import about
from atoll.observability.statistics.failure_reasons import failure_reason
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import DONE, QUEUED, InferenceRequest, InferenceResponse, ResponseSender, run_at_once
from atoll.tensor import Tensor

logger = logging.getLogger(__name__)

LARGE_BYTES = 1 << 20  # half a millisecond of SHA-256 where the CPU has instructions for it, two elsewhere


class CachedPool:
    """A Pool round another. Thread-safe.

    `identity` says what makes the model the one that it is now, for the keys; None: it cannot be said now, and the
    cache is passed by. `ttl_s`: for how long answers are kept, 0: as long as there is room.
    """

    def __init__(
        self,
        pool: Pool,
        store: ResponseStore,
        workers: Workers,
        keys: KeyMaker,
        statistics: StatisticsRecorder,
        identity: Callable[[], bytes | None],
        ttl_s: float = 0.0,
    ):
        self._pool = pool
        self._store = store
        self._workers = workers
        self._keys = keys
        self._statistics = statistics
        self._identity = identity
        self._ttl_s = ttl_s
        self._model_name = statistics.name
        self._version = statistics.version
        self._lock = threading.Lock()
        self._looking = InFlight(self._lock)  # requests that are looked up on the cache's threads
        self._accepting = False
        self._last_hit_ns = 0

    # ---- start

    def start(self) -> None:
        """Begin to accept requests."""
        self._accepting = True
        self._pool.start()

    # ---- run

    def submit(self, request: InferenceRequest) -> None:
        """Answer a validated request from the cache, or queue it. Raises what the pool's own `submit` raises."""
        if not self._accepting:
            raise not_accepted(self._model_name)
        store = self._store
        begin_ns = request.timeline.queue_start = monotonic_ns()
        if request.defer is not run_at_once and (store.blocks or _byte_size(request.inputs.values()) > LARGE_BYTES):
            self._look_up_elsewhere(request)
            return
        lookup, answer = self._look_up(request, begin_ns)
        if answer is None:
            self._execute(request, lookup)
            return
        self._count_hit(request, lookup)
        response = self._response(request, answer)
        if request.defer is None:
            request.sender.send(response, True)
        else:  # after `submit` has returned, as every other answer on this thread
            request.defer(partial(request.sender.send, response, True))

    def _look_up(self, request: InferenceRequest, begin_ns: int) -> tuple["_Lookup | None", Answer | None]:
        """What was looked for, None if nothing could be, and what the cache has under it."""
        identity = self._identity()
        if identity is None:
            return None, None
        key = self._keys.key(request, identity)
        answer = self._store.lookup(key)
        return _Lookup(key, identity, monotonic_ns() - begin_ns), answer

    def _execute(self, request: InferenceRequest, lookup: "_Lookup | None") -> None:
        """Let the pool answer it, and keep the answer."""
        sender = request.sender
        if lookup is not None:
            request.sender = _KeepingSender(self, request, sender, lookup)
        try:
            self._pool.submit(request)
        except BaseException:
            request.sender = sender
            raise

    def _count_hit(self, request: InferenceRequest, lookup: "_Lookup | None") -> None:
        request.move(QUEUED)
        request.move(DONE)
        stamps = request.timeline
        self._last_hit_ns = stamps.request_end = monotonic_ns()
        self._statistics.record_cache_hit(stamps, lookup.ns if lookup is not None else 0)

    def _response(self, request: InferenceRequest, answer: Answer) -> InferenceResponse:
        outputs, parameters = answer
        return InferenceResponse(self._model_name, self._version, request.id, outputs, parameters)

    # ---- on the cache's threads

    def _look_up_elsewhere(self, request: InferenceRequest) -> None:
        with self._lock:
            if not self._accepting:
                raise not_accepted(self._model_name)
            self._looking.count += 1
        try:
            given = not self._store.rests and self._workers.give(partial(self._answer, request))
        except BaseException:
            self._looked()
            raise
        if not given:  # nobody waits for a cache that does not keep up
            try:
                self._pool.submit(request)
            finally:
                self._looked()

    def _answer(self, request: InferenceRequest) -> None:
        """Whatever happens, the request gets its final answer, or is the pool's."""
        try:
            lookup, answer = self._look_up(request, monotonic_ns())
            if request.cancelled:
                raise CancelledError("request was cancelled before it was executed")
            if answer is not None:
                self._count_hit(request, lookup)
                request.sender.send(self._response(request, answer), True)
                return
            request.defer = None  # this is not its submitter's thread
            self._execute(request, lookup)
        except AtollError as error:
            self._fail(request, error)
        except Exception as error:
            text = "model '%s': a request could not be looked up"
            logger.exception(text, self._model_name, extra=about(request.id, self._model_name, self._version))
            self._fail(request, InternalError(f"{type(error).__name__}: {error}"))
        finally:
            self._looked()

    def _fail(self, request: InferenceRequest, error: AtollError) -> None:
        if request.state is DONE:
            return
        if request.state is not QUEUED:
            request.move(QUEUED)
        request.move(DONE)
        end_ns = request.timeline.request_end = monotonic_ns()
        self._statistics.record_failure(request, end_ns, failure_reason(error, executed=False), error)
        request.sender.send(InferenceResponse(self._model_name, self._version, request.id, error=error), True)

    def _looked(self) -> None:
        with self._lock:
            self._looking.finished(1)
            last = not self._accepting and not self._looking.count
        if last:
            self._pool.refuse()

    # ---- what comes back

    def keep(self, lookup: "_Lookup", request: InferenceRequest, response: InferenceResponse | None) -> None:
        """The request has been executed; `response` is what may be kept of that, if anything."""
        recorder, store = self._statistics, self._store
        if response is None or request.cancelled or self._identity() != lookup.identity:
            recorder.record_cache_miss(lookup.ns)
            return
        size = _byte_size(response.outputs)
        if store.blocks or size > LARGE_BYTES:
            recorder.record_cache_miss(lookup.ns)
            self._workers.give(partial(self._insert, lookup.key, response), size)
        else:
            begin_ns = monotonic_ns()
            store.insert(lookup.key, response.outputs, response.parameters, self._ttl_s)
            recorder.record_cache_miss(lookup.ns + monotonic_ns() - begin_ns)

    def _insert(self, key: str, response: InferenceResponse) -> None:
        begin_ns = monotonic_ns()
        self._store.insert(key, response.outputs, response.parameters, self._ttl_s)
        self._statistics.record_cache_insertion(monotonic_ns() - begin_ns)

    # ---- what it says of itself

    @property
    def last_used_ns(self) -> int:
        """When a request was last taken, on the monotonic clock."""
        return max(self._last_hit_ns, self._pool.last_used_ns)

    @property
    def available(self) -> bool:
        """Whether anything can be executed."""
        return bool(getattr(self._pool, "available", True))

    def pending(self) -> int:
        """How many requests wait in the scheduler."""
        return self._pool.pending()

    def in_flight(self) -> int:
        """How many requests are looked up, queued or executing."""
        with self._lock:
            looking = self._looking.count
        return looking + self._pool.in_flight()

    def sequences(self) -> int:
        """How many sequences have begun and may go on."""
        return self._pool.sequences()

    def instances(self) -> list[Any]:
        """Those that take batches."""
        return self._pool.instances()

    def change_instances(self, added: Sequence[Any], removed: Sequence[Any]) -> bool:
        """See the pool's own."""
        return self._pool.change_instances(added, removed)

    # ---- stop

    def hurry(self) -> None:
        """Nothing waits for company any more; requests are accepted as before."""
        self._pool.hurry()

    def refuse(self) -> None:
        """Accept nothing new; what was accepted still runs."""
        with self._lock:
            self._accepting = False
            looking = self._looking.count
        if not looking:  # else the last of them does it
            self._pool.refuse()

    def drain(self, deadline_ns: int) -> bool:
        """Wait until all that was accepted is answered; False when the deadline came first."""
        self.refuse()
        looked = self._looking.drain(deadline_ns)
        self._pool.refuse()
        return self._pool.drain(deadline_ns) and looked

    def stop(self, deadline_ns: int) -> bool:
        """Answer what is still queued or executing with an error, and close the instances."""
        with self._lock:
            self._accepting = False
        self._looking.drain(deadline_ns)
        return self._pool.stop(deadline_ns)


class _Lookup:
    """What was looked for: the key, what the model was then, and how long it took."""

    __slots__ = ("identity", "key", "ns")

    def __init__(self, key: str, identity: bytes, ns: int):
        self.key = key
        self.identity = identity
        self.ns = ns


class _KeepingSender:
    """The ResponseSender of a request that was not in the cache."""

    __slots__ = ("_lookup", "_pool", "_request", "_sender", "_several")

    def __init__(self, pool: CachedPool, request: InferenceRequest, sender: ResponseSender, lookup: _Lookup):
        self._pool = pool
        self._request: InferenceRequest | None = request
        self._sender = sender
        self._lookup = lookup
        self._several = False

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """Before the answer goes out: who has it and asks again finds it in the cache."""
        if not final:
            self._several = True
        elif self._request is not None:
            fit = response if response is not None and response.error is None and not self._several else None
            self._pool.keep(self._lookup, self._request, fit)
            self._request = None  # which holds this sender: a circle would keep the client's buffers
        self._sender.send(response, final)


def _byte_size(tensors: Iterable[Tensor]) -> int:
    """About, for BYTES that came as an array."""
    return sum([len(one.buffer) if one.buffer is not None else one.array().nbytes for one in tensors])
