"""Work on several things at once."""

import threading

import pytest

from atoll.models.side_by_side import work_side_by_side


@pytest.mark.parametrize("threads", [1, 3, 50])
def test_everything_is_done_once_on_so_many_threads(threads: int) -> None:
    done: list[int] = []
    used: set[int] = set()
    together = threading.Barrier(min(threads, 20), timeout=30)

    def work(item: int) -> None:
        if item < min(threads, 20):
            together.wait()  # so many at the same time
        used.add(threading.get_ident())
        done.append(item)

    work_side_by_side(work, range(20), threads, "work")
    assert sorted(done) == list(range(20))
    assert len(used) <= threads


def test_nothing_to_do() -> None:
    work_side_by_side(lambda _: pytest.fail("called"), (), 4, "work")


def test_the_first_failure_ends_it_when_what_has_begun_is_done() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise ValueError("told to fail")
        done.append(item)

    with pytest.raises(ValueError, match="told to fail"):
        work_side_by_side(work, range(1000), 1, "work")
    assert done == [0, 1, 2]
