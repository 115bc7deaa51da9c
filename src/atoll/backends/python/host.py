"""What a Python model stands on: the server round it, and the place where each request's responses go.

Three stand behind these protocols: a channel to the server (a model in a process of its own), the engine itself (a
model in a thread of the server), and the test bench of `atoll.testing`. This module is imported in child processes: the
standard library and numpy are all there is, on Python 3.10 and later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from atoll.backends.python.utils import InferenceRequest, InferenceResponse

    Receive = Callable[[InferenceResponse | None, bool], None]


class Delivery(Protocol):
    """Where the responses of one received request go. Usable from any thread; exactly one call says `final`."""

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """Send one response; `None` with `final` ends the request without another one. Nothing may follow `final`."""

    def flush(self) -> None:
        """What was sent goes out now. Without it, what is sent while a batch is executed may wait for its end."""

    def reschedule(self) -> None:
        """Give the request back to the server, which executes it again later. In the place of a final response."""

    def is_cancelled(self) -> bool:
        """Whether the client has withdrawn the request. May be asked often."""


class Call(Protocol):
    """A request that the model has made to another model."""

    def cancel(self) -> None:
        """The model does not wait for further responses; a final one, with an error, still comes."""


class ModelHost(Protocol):
    """What a model may ask of the server that runs it. Usable from any thread of the model."""

    def infer(self, request: InferenceRequest, receive: Receive) -> Call:
        """Run the request on another model. `receive(response, final)` is called for each response, from any thread,
        also before this returns; exactly one call is final. It must neither block nor raise. A request that is refused
        gets its error as a final response.
        """

    def wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Block the calling thread until `done()` is true, which is asked again after whatever was received; False
        when `timeout` seconds were not enough.
        """

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """Load a model, as a client could. Raises AtollError."""

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        """Unload a model. Raises AtollError."""

    def is_model_ready(self, name: str, version: str = "") -> bool:
        """Whether the model takes requests. Raises AtollError."""

    def log(self, level: str, message: str, file: str, line: int) -> None:
        """A line in the server's log, said at this place in the model's code; `level` is "INFO", "WARNING", "ERROR" or
        "VERBOSE". Drops it where the level is off.
        """

    def create_metric_family(self, name: str, description: str, kind: str) -> int:
        """A family of metrics, "counter", "gauge" or "histogram"; its number. Raises AtollError."""

    def create_metric(self, family: int, labels: Mapping[str, str], buckets: Sequence[float] = ()) -> int:
        """A metric of that family; its number. Raises AtollError."""

    def change_metric(self, metric: int, operation: str, value: float) -> None:
        """ "increment", "set" or "observe". Raises AtollError."""

    def metric_value(self, metric: int) -> float:
        """The value of a counter or gauge. Raises AtollError."""

    def drop_metric(self, metric: int) -> None:
        """The metric's object is gone. Never raises."""

    def drop_metric_family(self, family: int) -> None:
        """The family's object is gone. Never raises."""
