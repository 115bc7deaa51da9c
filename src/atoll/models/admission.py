"""How many requests may be in flight at once, queued or executing: those beyond are refused, to be sent again later."""

import threading

from atoll.errors import InvalidArgumentError, OverloadedError
from atoll.execution.in_flight import not_accepted
from atoll.request import InferenceRequest, InferenceResponse, ResponseSender

RETRY_AFTER_S = 1  # whoever was refused asks again then; the server cannot know how long the others will take


class Admission:
    """A count with a limit. Thread-safe. A request counts from `admit` until its final response, or `withdraw`.

    `whose` and `setting` are what a refusal says: "the server", "--max-inflight-requests".
    """

    def __init__(self, limit: int, whose: str, setting: str):
        self.limit = limit
        self._text = (
            f"{whose} has {limit} requests in flight, which is all that {setting} allows: try again in "
            f"{RETRY_AFTER_S} s"
        )
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """How many are in flight."""
        return self._count

    def admit(self, request: InferenceRequest) -> "AdmittedSender":
        """Count it, and hear of its end: its sender is put behind one that counts. Raises OverloadedError."""
        with self._lock:
            if self._count >= self.limit:
                raise OverloadedError(self._text, RETRY_AFTER_S)
            self._count += 1
        admitted = AdmittedSender(self, request.sender)
        request.sender = admitted
        return admitted

    def leave(self, admitted: "AdmittedSender") -> None:
        """It has its answer, or was refused; of both at the same moment the first counts."""
        with self._lock:
            self._count -= admitted.counts
            admitted.counts = False


class Closed(Admission):
    """Of a server that stops: clients are refused, while models still ask each other."""

    def __init__(self, model_name: str):
        super().__init__(0, "", "")
        self._model_name = model_name

    def admit(self, request: InferenceRequest) -> "AdmittedSender":
        """Raises UnavailableError."""
        raise not_accepted(self._model_name)


class AdmittedSender:
    """The ResponseSender of a request that counts."""

    __slots__ = ("_admission", "_sender", "counts")

    def __init__(self, admission: Admission, sender: ResponseSender):
        self._admission = admission
        self._sender = sender
        self.counts = True  # under the admission's lock

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """As `ResponseSender.send`. It counts no more when its client has the answer, and can send the next."""
        if final:
            self._admission.leave(self)
        self._sender.send(response, final)

    def withdraw(self, request: InferenceRequest) -> None:
        """It was refused after all, and nobody answers it: it is its maker's again."""
        request.sender = self._sender
        self._admission.leave(self)


def server_admission(limit: int) -> Admission | None:
    """For all models of a server together. Raises InvalidArgumentError."""
    if limit < 0:
        raise InvalidArgumentError(f"max_inflight_requests is {limit} but must be 0 (no limit) or more")
    return Admission(limit, "the server", "--max-inflight-requests") if limit else None


def model_admission(limit: int, model_name: str) -> Admission | None:
    """For one version of a model."""
    whose, setting = f"model '{model_name}'", "its parameter 'max_inflight_requests'"
    return Admission(limit, whose, setting) if limit else None
