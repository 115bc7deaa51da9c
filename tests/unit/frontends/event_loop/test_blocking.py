"""Calls that block: on threads of their own, bounded, and answered on the event loop."""

import asyncio
import threading
from functools import partial

import pytest

from atoll.errors import AtollError, InternalError, InvalidArgumentError, UnavailableError
from atoll.frontends.event_loop.blocking import BlockingCalls

WAIT_S = 20


class Outcomes:
    """What came back, in order."""

    def __init__(self):
        self.found = []
        self._more = asyncio.Event()

    def take(self, name, result, error):
        assert threading.current_thread() is threading.main_thread()
        self.found.append((name, result, error))
        self._more.set()

    async def wait(self, count):
        async with asyncio.timeout(WAIT_S):
            while len(self.found) < count:
                self._more.clear()
                await self._more.wait()
        return self.found


def calls(**limits):
    return BlockingCalls(asyncio.get_running_loop(), "load", **limits)


async def test_results_and_errors_come_to_the_loop():
    outcomes, blocking = Outcomes(), calls()

    def refuse():
        raise InvalidArgumentError("no")

    for name, work in (("thread", threading.get_ident), ("refusal", refuse), ("bug", lambda: 1 / 0)):
        blocking.submit(work, partial(outcomes.take, name))
    found = {name: (result, error) for name, result, error in await outcomes.wait(3)}
    assert found["thread"][0] != threading.get_ident()
    assert isinstance(found["refusal"][1], InvalidArgumentError)
    assert isinstance(found["bug"][1], InternalError)
    assert "ZeroDivisionError" in str(found["bug"][1])


async def test_so_many_at_once_so_many_wait_and_no_more():
    outcomes, blocking = Outcomes(), calls(threads=2, waiting=2)
    running, most, lock, let_go = 0, 0, threading.Lock(), threading.Event()

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert let_go.wait(WAIT_S)
        with lock:
            running -= 1

    for name in range(4):
        blocking.submit(work, partial(outcomes.take, name))
    with pytest.raises(UnavailableError, match="2 load calls are waiting"):
        blocking.submit(work, partial(outcomes.take, 4))
    let_go.set()
    assert sorted(name for name, _, _ in await outcomes.wait(4)) == [0, 1, 2, 3]
    assert most == 2
    blocking.submit(work, partial(outcomes.take, 5))
    assert (await outcomes.wait(5))[-1] == (5, None, None)


async def test_an_answer_that_breaks_holds_up_nobody():
    outcomes, blocking = Outcomes(), calls(threads=1)
    blocking.submit(lambda: None, lambda *_: 1 / 0)
    blocking.submit(lambda: None, partial(outcomes.take, "next"))
    assert await outcomes.wait(1) == [("next", None, None)]


async def test_who_gives_up_waiting_makes_room():
    outcomes, blocking, let_go = Outcomes(), calls(threads=1, waiting=1), threading.Event()
    blocking.submit(lambda: let_go.wait(WAIT_S), partial(outcomes.take, "first"))
    begun = []
    blocking.submit(lambda: begun.append("dropped"), partial(outcomes.take, "dropped")).cancel()
    blocking.submit(lambda: begun.append("second"), partial(outcomes.take, "second"))
    let_go.set()
    assert [name for name, _, _ in await outcomes.wait(2)] == ["first", "second"]
    assert begun == ["second"]


async def test_the_outcome_of_a_cancelled_call_goes_nowhere():
    outcomes, blocking = Outcomes(), calls(threads=1)
    entered, let_go = threading.Event(), threading.Event()

    def work():
        entered.set()
        assert let_go.wait(WAIT_S)

    call = blocking.submit(work, partial(outcomes.take, "cancelled"))
    assert await asyncio.to_thread(entered.wait, WAIT_S)
    call.cancel()
    let_go.set()
    blocking.submit(lambda: 1, partial(outcomes.take, "next"))
    assert await outcomes.wait(1) == [("next", 1, None)]


async def test_closing_refuses_what_has_not_begun_and_lets_the_rest_end():
    outcomes, blocking, let_go = Outcomes(), calls(threads=1), threading.Event()
    blocking.submit(lambda: let_go.wait(WAIT_S), partial(outcomes.take, "begun"))
    blocking.submit(lambda: None, partial(outcomes.take, "queued"))
    blocking.close()
    name, _, error = (await outcomes.wait(1))[0]
    assert name == "queued"
    assert isinstance(error, UnavailableError)
    with pytest.raises(UnavailableError, match="stopping"):
        blocking.submit(lambda: None, partial(outcomes.take, "late"))
    let_go.set()
    assert (await outcomes.wait(2))[1] == ("begun", True, None)


async def test_a_system_without_threads(monkeypatch):
    outcomes, blocking, let_go = Outcomes(), calls(threads=1), threading.Event()
    blocking.submit(lambda: let_go.wait(WAIT_S), partial(outcomes.take, "begun"))
    blocking.submit(lambda: None, partial(outcomes.take, "queued"))

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    let_go.set()
    error = {name: error for name, _, error in await outcomes.wait(2)}["queued"]
    assert isinstance(error, AtollError)
    assert "can't start new thread" in str(error)
    with pytest.raises(UnavailableError, match="can't start new thread"):
        blocking.submit(lambda: None, partial(outcomes.take, "late"))


def test_a_call_that_outlives_its_loop():
    let_go, ended = threading.Event(), threading.Event()

    def work():
        assert let_go.wait(WAIT_S)
        ended.set()

    async def begin():
        calls().submit(work, lambda *_: pytest.fail("nobody is there"))

    asyncio.run(begin())
    let_go.set()
    assert ended.wait(WAIT_S)
