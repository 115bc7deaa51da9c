"""What a scheduler answers whose requests are for any instance, and stand by themselves."""

from collections.abc import Sequence

from atoll.request import InferenceRequest


class AnySeat:
    """The part of the contract (scheduler.py) that is about seats, the end of batches, and sequences: nothing to do."""

    def finished(self, requests: Sequence[InferenceRequest], seat: int) -> None:
        pass

    def seat_added(self, seat: int) -> None:
        pass

    def seat_removed(self, seat: int) -> None:
        pass

    def seat_lost(self, seat: int) -> None:
        pass

    def no_more(self) -> None:
        pass

    def sequences(self) -> int:
        return 0
