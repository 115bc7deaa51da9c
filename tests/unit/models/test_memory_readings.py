"""Who asks for the memory of models does not wait for it to be measured, and gets what is not much older."""

import threading
from dataclasses import dataclass, field

from atoll.models.memory_readings import FRESH_S, MemoryReadings

PATIENCE_S = 20.0


@dataclass
class OneModel:
    name: str
    version: str = "1"
    memory_bytes: int = 0
    size: int = 5
    measured: list[str] = field(default_factory=list)  # by which threads

    def process_bytes(self) -> int:
        self.measured.append(threading.current_thread().name)
        return self.size


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def settle() -> None:
    for thread in threading.enumerate():
        if thread.name == "memory of models":
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_a_version_is_measured_for_who_asks_once_and_then_apart() -> None:
    here = threading.current_thread().name
    one, clock = OneModel("a"), Clock()
    readings = MemoryReadings(lambda: [one], clock)
    assert readings.latest() == {("a", "1"): 5}
    settle()
    one.size = 7
    assert readings.latest("a") == {("a", "1"): 5}
    clock.now += FRESH_S
    assert readings.latest() == {("a", "1"): 5}
    settle()
    assert readings.latest() == {("a", "1"): 7}
    assert one.measured.count(here) == 1


def test_what_was_measured_for_others_is_told_and_what_is_gone_is_not() -> None:
    here = threading.current_thread().name
    loaded = [OneModel("a"), OneModel("b", memory_bytes=9)]
    readings = MemoryReadings(lambda: loaded, Clock())
    assert readings.measure() == {("a", "1"): 5, ("b", "1"): 9}
    assert readings.measure("b") == {("b", "1"): 9}
    assert readings.latest() == {("a", "1"): 5, ("b", "1"): 9}
    assert loaded[0].measured == [here]
    assert not loaded[1].measured
    loaded.pop()
    assert readings.latest() == {("a", "1"): 5}
    assert readings.latest("b") == {}


def test_it_is_measured_by_one_thread_at_a_time() -> None:
    gate, begun = threading.Event(), threading.Event()
    one, clock = OneModel("a"), Clock()
    readings = MemoryReadings(lambda: [one], clock)
    readings.measure()

    def slow() -> int:
        begun.set()
        assert gate.wait(PATIENCE_S)
        return 8

    one.process_bytes = slow  # type: ignore[method-assign]
    clock.now += FRESH_S
    assert readings.latest() == {("a", "1"): 5}
    assert begun.wait(PATIENCE_S)
    for _ in range(3):
        assert readings.latest() == {("a", "1"): 5}
    assert sum(thread.name == "memory of models" for thread in threading.enumerate()) == 1
    gate.set()
    settle()
    assert readings.latest() == {("a", "1"): 8}
