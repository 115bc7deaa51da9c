"""Several threads that do the same at once, as the engine drives instances."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier


def side_by_side(count: int, work: Callable[[int], object]) -> None:
    """Call work(0), work(1), ... on as many threads, which begin together. What one of them raises is raised here."""
    begin = Barrier(count)

    def run(number: int) -> None:
        begin.wait()
        work(number)

    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(run, number) for number in range(count)]:
            done.result()
