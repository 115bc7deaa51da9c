"""An instance whose work is done in a process of its own: it forwards, and starts the process anew when it dies."""

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic_ns

from atoll.backends.api import Answers
from atoll.errors import AtollError, InternalError
from atoll.isolation.execution_limit import ExecutionLimit
from atoll.isolation.link import Link
from atoll.isolation.supervisor import Supervisor, Timer
from atoll.observability.logging.extras import about_all
from atoll.request import InferenceRequest

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
GOOD_LIFE_NS = 60_000_000_000  # a process that has lived so long was not broken from the start
MIN_STOP_S = 1.0  # that a model gets to finalize, whatever the deadline

Start = Callable[[Callable[[], Answers], Callable[[Link, str], None]], Link]


class IsolatedInstance:
    """A RequestInstance. `start(answers, on_end)` starts a process and waits until it is ready."""

    def __init__(self, name: str, start: Start, supervisor: Supervisor, execution_timeout_s: float = 0.0):
        self.name = name
        self._start = start
        self._supervisor = supervisor
        self._execution_timeout_s = execution_timeout_s
        self._answers: Answers | None = None
        self._limit: ExecutionLimit | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._delay_s = FIRST_DELAY_S
        self._timer: Timer | None = None
        self._restarting: threading.Thread | None = None
        self._link: Link | None = None
        link = self._link = start(self._get_answers, self._ended)
        self.facts = dict(link.facts)
        self.concurrency = int(self.facts.get("concurrency", 1))
        self.depth = int(self.facts.get("depth", 0))

    def _get_answers(self) -> Answers:
        assert self._answers is not None, "an instance answered before it was opened. This is a bug"
        return self._answers

    def open(self, answers: Answers) -> None:
        """See `RequestInstance.open`."""
        if self._execution_timeout_s:
            self._limit = ExecutionLimit(
                answers,
                self._supervisor,
                self._execution_timeout_s,
                lambda: self._link,
                one_by_one=self.concurrency == 1,
            )
            answers = self._limit
        self._answers = answers
        link = self._link
        if link is not None and link.end_reason:  # already
            self._ended(link, link.end_reason)

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        link = self._link
        return link.child.pid if link is not None else 0

    # ---- run

    def begin(self, batch: int, requests: Sequence[InferenceRequest]) -> None:
        """See `RequestInstance.begin`."""
        link = self._link
        try:
            if link is None:
                raise InternalError(f"Stub process '{self.name}' is not healthy.")
            if self._limit is not None:
                self._limit.begin(batch)  # before it can be over
            link.begin(batch, requests)
        except Exception as error:
            failure = error if isinstance(error, AtollError) else InternalError(f"{type(error).__name__}: {error}")
            if failure is not error and link is not None:
                ids = about_all((request.id for request in requests), link.spec.model, link.spec.version)
                logger.exception("a batch could not be given to instance '%s'", self.name, extra=ids)
            answers = self._get_answers()
            answers.released(batch, 0)
            for request in requests:
                answers.respond(request, [], error=failure)

    def flush(self) -> None:
        """See `RequestInstance.flush`."""
        link = self._link
        if link is not None:
            link.flush()

    def cancel(self, request: InferenceRequest) -> None:
        """See `RequestInstance.cancel`."""
        link = self._link
        if link is not None:
            link.cancel(request)

    @property
    def says_ready(self) -> bool:
        """See `RequestInstance.says_ready`."""
        return self.facts.get("says_ready") is True

    def is_ready(self, timeout_s: float) -> bool:
        """See `RequestInstance.is_ready`."""
        link = self._link
        return link is not None and link.probe(timeout_s)

    # ---- a process that dies

    def _ended(self, link: Link, reason: str) -> None:
        """On the supervisor's thread."""
        with self._lock:
            if self._closed or link is not self._link or self._answers is None:
                return
            self._link = None
            if monotonic_ns() - link.began_ns > GOOD_LIFE_NS:
                self._delay_s = FIRST_DELAY_S
            delay_s = self._next_delay()
            self._timer = self._supervisor.later(delay_s, self._restart_soon)
        text = self._not_healthy(reason)
        logger.error("%s It is started again in %.1f s", text, delay_s)
        self._get_answers().down(text)

    def _not_healthy(self, reason: str) -> str:
        return (
            f"Failed to process the request(s) for model instance '{self.name}', message: "
            f"Stub process '{self.name}' is not healthy. It {reason}."
        )

    def _next_delay(self) -> float:
        delay_s = self._delay_s
        self._delay_s = min(2 * delay_s, LONGEST_DELAY_S)
        return delay_s

    def _restart_soon(self) -> None:
        """On the supervisor's thread, which must not wait."""
        with self._lock:
            if self._closed:
                return
            self._restarting = threading.Thread(target=self._restart, name=f"restart of {self.name}", daemon=True)
            self._restarting.start()

    def _restart(self) -> None:
        try:
            link = self._start(self._get_answers, self._ended)
        except Exception as error:
            if not isinstance(error, AtollError):
                logger.exception("restarting instance '%s' failed", self.name)
            with self._lock:
                if self._closed:
                    return
                delay_s = self._next_delay()
                self._timer = self._supervisor.later(delay_s, self._restart_soon)
            logger.error("instance '%s' cannot be started again: %s. Next attempt in %.1f s", self.name, error, delay_s)
            self._get_answers().down(self._not_healthy(f"could not be started again: {error}"))
            return
        with self._lock:
            closed = self._closed
            if not closed:
                self._link = link
        if closed:
            link.stop(MIN_STOP_S)
            return
        if link.end_reason:  # already
            self._ended(link, link.end_reason)
            return
        self._supervisor.later(0, lambda: self._say_up(link))

    def _say_up(self, link: Link) -> None:
        """On the supervisor's thread: where its end is told, too, so that the two come in their order."""
        if self._link is link:
            logger.info("instance '%s' has been started again", self.name)
            self._get_answers().up()

    # ---- end

    def close(self, deadline_ns: int) -> bool:
        """Let the model finalize and end its process; always True, as what does not end by itself is killed."""
        with self._lock:
            self._closed = True
            link, self._link = self._link, None
            if self._timer is not None:
                self._timer.cancel()
        if link is not None:
            link.stop(max((deadline_ns - monotonic_ns()) / 1e9, MIN_STOP_S))
        if self._restarting is not None:
            self._restarting.join(MIN_STOP_S)
        return True
