"""The places of instances in a pool whose instances have threads, and the promises to drive them."""

import threading

from atoll.execution.instance import ModelInstance
from atoll.execution.permit import turn_of
from atoll.request import Defer, InferenceRequest


class Seat:
    """An instance's place in the pool, with the thread that drives it.

    A `leaving` one takes no further batch, and is `gone` when nobody drives it any more.
    """

    __slots__ = ("gone", "instance", "leaving", "number", "thread", "wake")

    def __init__(self, instance: ModelInstance, number: int, lock: threading.Lock):
        self.instance = instance
        self.number = number  # by which the scheduler knows it
        self.wake = threading.Condition(lock)
        self.thread: threading.Thread | None = None
        self.leaving = False
        self.gone = False

    @property
    def turn(self) -> int:
        """Whose turn it is among those that could execute: the lowest, where they need permits."""
        return turn_of(self.instance.permit)


class Promise:
    """That a submitter's thread will drive this seat on its next turn.

    If its event loop dies instead, its own requests die with it. Requests from elsewhere must not: for their sake the
    seat's thread then watches, and takes the seat back when the promise is broken.
    """

    __slots__ = ("defer", "seat", "since_ns", "watched")

    def __init__(self, seat: Seat, defer: Defer, since_ns: int):
        self.seat = seat
        self.defer = defer
        self.since_ns = since_ns
        self.watched = False

    def watch_for(self, request: InferenceRequest) -> None:
        """Another request relies on the promise."""
        if not self.watched and request.defer != self.defer:
            self.watched = True
            self.seat.wake.notify()
