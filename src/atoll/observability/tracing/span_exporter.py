"""The exporter of the library, watched: what it takes and loses is counted, what a receiver answers is bounded."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from atoll.observability.tracing.export_settings import with_scheme, without_password

logger = logging.getLogger(__name__)

COMPLAINT_INTERVAL_S = 60.0
MAX_ANSWER = 1 << 20  # bytes that a receiver may answer; it has nothing to say beyond a few
MAX_REASON = 500
_CHUNK = 16_384


class WatchedExporter(SpanExporter):
    """`url` "": what the environment says. `taken`: how many spans wait no more, whether they arrived or not; `lost`:
    how many did not, as far as is known. The library's lines about lost spans, one for each batch, become one of ours
    now and then. Thread-safe.
    """

    def __init__(self, url: str):
        self._exporter = OTLPSpanExporter(endpoint=with_scheme(url) if url else None, session=_Session())
        self._place = without_password(url) or "where the environment says"
        self._lines = _Lines(OTLPSpanExporter.__module__)
        self._lock = threading.Lock()
        self.taken = 0
        self.lost = 0
        self._told = 0
        self._told_at = -COMPLAINT_INTERVAL_S
        self._reason = ""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the library's; it never raises."""
        with self._lines.taken() as said:
            try:
                result = self._exporter.export(spans)
            except Exception as error:
                said.append(f"{type(error).__name__}: {error}")
                result = SpanExportResult.FAILURE
        self.taken += len(spans)
        if result is not SpanExportResult.SUCCESS:
            self.lose(len(spans), " ".join(dict.fromkeys(said)) or "they were not taken")
        return result

    def lose(self, count: int, reason: str) -> None:
        """So many spans are lost. What was lost is told at once, and then once in a while."""
        with self._lock:
            self.lost += count
            self._reason = reason[:MAX_REASON]
            now = monotonic()
            if now - self._told_at < COMPLAINT_INTERVAL_S:
                return
            self._told_at = now
            self._tell()

    def _tell(self) -> None:
        lost, self._told = self.lost - self._told, self.lost
        if lost:
            text = "%d spans are lost, which were to be exported to %s: %s"
            logger.warning(text, lost, self._place, self._reason)

    def shutdown(self) -> None:
        """As the library's."""
        with self._lines.taken():
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return True

    def close(self) -> None:
        """Tell what was not told yet."""
        with self._lock:
            self._tell()
        self._lines.close()


class _Lines(logging.Filter):
    """The lines of a logger of somebody else's, as far as they are written on behalf of this."""

    def __init__(self, logger_name: str):
        super().__init__()
        self._thread = threading.local()
        self._logger = logging.getLogger(logger_name)
        self._logger.addFilter(self)

    @contextmanager
    def taken(self) -> Iterator[list[str]]:
        """What this thread logs there meanwhile comes here in its place."""
        said: list[str] = []
        self._thread.said = said
        try:
            yield said
        finally:
            self._thread.said = None

    def filter(self, record: logging.LogRecord) -> bool:
        """As logging.Filter's."""
        said: list[str] | None = getattr(self._thread, "said", None)
        if said is None:
            return True
        if record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return False

    def close(self) -> None:
        self._logger.removeFilter(self)


class _Session(requests.Session):
    """Reads no more of an answer than there can be of a sensible one, and no longer than the whole may take. Goes
    nowhere else.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: spans go where they were to go. The library would also read the whole answer, to find out."""
        return None

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        """As requests.Session.send."""
        timeout = how.get("timeout")
        deadline = monotonic() + (timeout if isinstance(timeout, (int, float)) else 10.0)
        response = super().send(request, **{**how, "stream": True})
        self._read(response, deadline)
        if 300 <= response.status_code < 400:  # which the library would take for success
            place = without_password(response.headers.get("Location", ""))[:MAX_REASON]
            raise requests.RequestException(f"the receiver answers {response.status_code}: go to '{place}'")
        return response

    def _read(self, response: requests.Response, deadline: float) -> None:
        left = MAX_ANSWER
        try:
            while left > 0 and monotonic() < deadline:
                chunk = response.raw.read(min(_CHUNK, left), decode_content=False)
                if not chunk:
                    return
                left -= len(chunk)
        except Exception:  # its status is known, and is all that counts
            logger.debug("the answer of a receiver of spans broke off", exc_info=True)
        response.close()
