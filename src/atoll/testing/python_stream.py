"""The responses of a decoupled model under test, as they come."""

import threading
from collections.abc import Callable

from atoll.backends.python.utils import InferenceResponse
from atoll.request import ModelSpan
from atoll.testing.python_answers import Answer, Mailbox


class Stream:
    """Iterates over the answers of one request, whose execution runs in a thread meanwhile. An answer with an error is
    raised as that error. Raises TimeoutError where the model sends nothing for too long.
    """

    def __init__(
        self,
        execute: Callable[[], None],
        mailbox: Mailbox,
        answer: Callable[[InferenceResponse], Answer],
        timeout_s: float,
    ):
        self._mailbox = mailbox
        self._answer = answer
        self._timeout_s = timeout_s
        self._thread = threading.Thread(target=execute, name="model-under-test", daemon=True)
        self._thread.start()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Answer:
        response = self._mailbox.next(self._timeout_s)
        if response is None:
            self._thread.join(self._timeout_s)
            raise StopIteration
        answer = self._answer(response)
        if answer.error is not None:
            raise answer.error
        return answer

    @property
    def spans(self) -> tuple[ModelSpan, ...]:
        """What the model has added to the trace of the request, once that has ended."""
        return self._mailbox.spans

    def cancel(self) -> None:
        """Withdraw the request, as a client that disconnects; answers that the model sends all the same still come."""
        self._mailbox.cancel()
