"""What is to be done soon: at once where nobody holds it, in its order, however much of it there is."""

import threading

import pytest

from atoll.trampoline import hold, let_go, soon


def test_it_is_done_at_once_where_nobody_holds_it() -> None:
    done: list[int] = []
    soon(lambda: done.append(1))
    assert done == [1]


def test_it_waits_until_the_outermost_lets_go() -> None:
    done: list[int] = []
    outer = hold()
    soon(lambda: done.append(1))
    inner = hold()
    soon(lambda: done.append(2))
    let_go(inner)
    assert done == []
    let_go(outer)
    assert done == [1, 2]
    soon(lambda: done.append(3))
    assert done == [1, 2, 3]


def test_what_it_causes_is_done_after_it_and_without_recursion() -> None:
    depth = deepest = steps = 0

    def step() -> None:
        nonlocal depth, deepest, steps
        depth += 1
        deepest = max(deepest, depth)
        steps += 1
        if steps < 10_000:
            soon(step)
        depth -= 1

    soon(step)
    assert (steps, deepest) == (10_000, 1)


def test_one_that_fails_does_not_cost_the_others() -> None:
    done: list[int] = []
    outer = hold()
    soon(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    soon(lambda: done.append(1))
    let_go(outer)
    assert done == [1]
    soon(lambda: done.append(2))
    assert done == [1, 2]


def test_each_thread_has_its_own() -> None:
    done: list[str] = []
    outer = hold()
    soon(lambda: done.append("here"))
    other = threading.Thread(target=lambda: soon(lambda: done.append("there")))
    other.start()
    other.join()
    assert done == ["there"]
    let_go(outer)
    assert done == ["there", "here"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_comes_after_what_is_to_be_done_and_leaves_it_free(kind: type[BaseException]) -> None:
    done: list[int] = []

    def interrupted() -> None:
        raise kind

    outermost = hold()
    for one in (interrupted, lambda: done.append(1)):
        soon(one)
    with pytest.raises(kind):
        let_go(outermost)
    assert done == [1]
    soon(lambda: done.append(2))
    assert done == [1, 2]
