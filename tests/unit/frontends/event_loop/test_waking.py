"""Requests that wait for a model: together, bounded, and cancellable."""

import asyncio

import pytest
from tests.unit.frontends.fake_repository import FakeRepository

from atoll.errors import ModelAsleepError, UnavailableError
from atoll.frontends.event_loop.waking import ATTEMPTS, Waking

ASLEEP = ModelAsleepError("model 'm' is being loaded")


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def make(**limits):
    engine = FakeRepository()
    return engine, Waking(engine, asyncio.get_running_loop(), **limits)


async def test_one_call_wakes_a_model_for_all_who_wait():
    engine, waking = make()
    told = []
    for _ in range(3):
        waking.wait(ASLEEP, "m", 0, told.append)
    waking.wait(ASLEEP, "other", 0, told.append)
    assert [name for name, _ in engine.wakes] == ["m", "other"]
    engine.woken()
    await settle()
    assert told == [None] * 3
    error = UnavailableError("broken")
    engine.woken(error)
    await settle()
    assert told[3:] == [error]
    waking.wait(ASLEEP, "m", 1, told.append)
    assert [name for name, _ in engine.wakes] == ["m"]


async def test_an_answer_that_comes_at_once_is_passed_on_later():
    engine, waking = make()
    engine.wake = lambda name, then: then(None)
    told = []
    waking.wait(ASLEEP, "m", 0, told.append)
    assert told == []
    await settle()
    assert told == [None]


async def test_who_cancels_is_not_told_and_makes_room():
    engine, waking = make(limit=2)
    told = []
    first = waking.wait(ASLEEP, "m", 0, lambda _: told.append("first"))
    waking.wait(ASLEEP, "m", 0, lambda _: told.append("second"))
    with pytest.raises(UnavailableError, match="2 requests wait"):
        waking.wait(ASLEEP, "m", 0, told.append)
    first.cancel()
    first.cancel()
    waking.wait(ASLEEP, "n", 0, lambda _: told.append("third"))
    with pytest.raises(UnavailableError, match="2 requests wait"):
        waking.wait(ASLEEP, "n", 0, told.append)
    engine.woken()
    await settle()
    first.cancel()
    assert told == ["second"]
    waking.wait(ASLEEP, "n", 0, lambda _: told.append("fourth"))
    engine.woken()
    await settle()
    assert told == ["second", "third", "fourth"]


async def test_a_request_waits_only_so_often():
    _, waking = make()
    waking.wait(ASLEEP, "m", ATTEMPTS - 1, lambda _: None)
    with pytest.raises(UnavailableError, match="--model-memory-budget is too small"):
        waking.wait(ASLEEP, "m", ATTEMPTS, lambda _: None)


async def test_an_engine_that_refuses_to_wake():
    engine, waking = make(limit=1)

    def refuse(name, then):
        raise UnavailableError("stopping")

    engine.wake = refuse
    for _ in range(3):  # and nothing is kept of it
        with pytest.raises(UnavailableError, match="stopping"):
            waking.wait(ASLEEP, "m", 0, lambda _: None)


async def test_many_go_on_though_one_of_them_breaks():
    engine, waking = make()
    told = []
    for number in range(500):
        waking.wait(ASLEEP, "m", 0, lambda _, number=number: told.append(1 / (number - 3)))
    engine.woken()
    await settle()
    assert len(told) == 499


def test_a_model_that_wakes_when_the_loop_has_gone():
    engine = FakeRepository()

    async def begin():
        Waking(engine, asyncio.get_running_loop()).wait(ASLEEP, "m", 0, lambda _: pytest.fail("nobody is there"))

    asyncio.run(begin())
    engine.woken()
