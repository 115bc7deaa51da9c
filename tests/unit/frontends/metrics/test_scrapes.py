"""Scrapes that come together: one page for all, in the coding that each takes, with a bound, and never without end."""

import asyncio
import gzip
import logging
import threading
from collections.abc import Sequence

import pytest

from atoll.errors import AtollError, InternalError, UnavailableError
from atoll.frontends.metrics import scrapes as scrapes_module
from atoll.frontends.metrics.scrapes import MOST, PAYS_BYTES, Scrape, Scrapes

PATIENCE_S = 20.0
PAGE = [b"line\n" * PAYS_BYTES, b"end\n"]


class Page:
    """Is written while `gate` is open."""

    def __init__(self, parts: Sequence[bytes] = PAGE):
        self.parts = parts
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.written = 0
        self.threads: set[str] = set()

    def render(self) -> Sequence[bytes]:
        self.begun.set()
        assert self.gate.wait(PATIENCE_S)
        self.written += 1
        self.threads.add(threading.current_thread().name)
        return self.parts


class Answered:
    """What one scrape got."""

    def __init__(self, coding: str = ""):
        self.future: asyncio.Future[tuple[bytes, str]] = asyncio.get_running_loop().create_future()
        self.scrape = Scrape(asyncio.get_running_loop(), coding, self._take)

    async def answer(self) -> tuple[bytes, str]:
        return await asyncio.wait_for(self.future, PATIENCE_S)

    def _take(self, parts: Sequence[bytes], coding: str, error: AtollError | None) -> None:
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result((b"".join(parts), coding))


async def test_those_that_come_while_a_page_is_written_share_the_next_one() -> None:
    page = Page()
    scrapes = Scrapes(page.render)
    first = Answered()
    scrapes.submit(first.scrape)
    await asyncio.to_thread(page.begun.wait, PATIENCE_S)
    others = [Answered(coding) for coding in ("", "gzip", "gzip", "deflate")]
    for one in others:
        scrapes.submit(one.scrape)
    page.gate.set()
    assert await first.answer() == (b"".join(PAGE), "")
    answers = [await one.answer() for one in others]
    assert [coding for _, coding in answers] == ["", "gzip", "gzip", "deflate"]
    assert gzip.decompress(answers[1][0]) == b"".join(PAGE)
    assert len(answers[1][0]) < len(b"".join(PAGE)) / 20
    assert page.written == 2
    assert page.threads == {"metrics page"}


async def test_a_small_page_is_not_compressed() -> None:
    page = Page([b"small\n"])
    page.gate.set()
    one = Answered("gzip")
    Scrapes(page.render).submit(one.scrape)
    assert await one.answer() == (b"small\n", "")


async def test_what_comes_beyond_the_bound_is_refused_and_room_is_made() -> None:
    page = Page()
    scrapes = Scrapes(page.render)
    taken = [Answered() for _ in range(MOST)]
    for one in taken:
        scrapes.submit(one.scrape)
    with pytest.raises(UnavailableError, match=f"{MOST} scrapes of the metrics wait"):
        scrapes.submit(Answered().scrape)
    page.gate.set()
    for one in taken:
        await one.answer()
    after = Answered()
    scrapes.submit(after.scrape)
    assert await after.answer() == (b"".join(PAGE), "")


async def test_nothing_is_written_for_those_who_have_gone() -> None:
    page = Page()
    scrapes = Scrapes(page.render)
    first, gone = Answered(), Answered()
    scrapes.submit(first.scrape)
    await asyncio.to_thread(page.begun.wait, PATIENCE_S)
    scrapes.submit(gone.scrape)
    gone.scrape.cancel()
    page.gate.set()
    await first.answer()
    last = Answered()
    scrapes.submit(last.scrape)
    await last.answer()
    assert page.written == 2
    assert not gone.future.done()


async def test_those_who_have_gone_leave_their_room_to_others() -> None:
    page = Page()
    scrapes = Scrapes(page.render)
    scrapes.submit(Answered().scrape)
    await asyncio.to_thread(page.begun.wait, PATIENCE_S)
    for _ in range(MOST - 1):
        gone = Answered()
        scrapes.submit(gone.scrape)
        gone.scrape.cancel()
    last = Answered()
    scrapes.submit(last.scrape)
    page.gate.set()
    assert await last.answer() == (b"".join(PAGE), "")


async def test_a_page_that_cannot_be_written_is_an_error_for_all_and_the_next_one_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fails = True

    def render() -> Sequence[bytes]:
        if fails:
            raise RuntimeError("secret")
        return PAGE

    scrapes = Scrapes(render)
    one = Answered()
    with caplog.at_level(logging.ERROR):
        scrapes.submit(one.scrape)
        with pytest.raises(InternalError, match="server's log has the details"):
            await one.answer()
    assert "secret" in caplog.text
    fails = False
    two = Answered()
    scrapes.submit(two.scrape)
    assert await two.answer() == (b"".join(PAGE), "")


async def test_without_threads_the_scrape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    scrapes = Scrapes(lambda: PAGE)
    with monkeypatch.context() as patched:
        patched.setattr(scrapes_module.threading, "Thread", refuse)
        with pytest.raises(UnavailableError, match="no thread"):
            scrapes.submit(Answered().scrape)
    one = Answered()
    scrapes.submit(one.scrape)
    assert await one.answer() == (b"".join(PAGE), "")


def test_an_event_loop_that_has_ended_costs_the_others_nothing() -> None:
    page = Page()
    scrapes = Scrapes(page.render)
    ended = asyncio.new_event_loop()
    scrapes.submit(Scrape(ended, "", lambda parts, coding, error: None))
    ended.close()

    async def ask() -> tuple[bytes, str]:
        one = Answered()
        scrapes.submit(one.scrape)
        page.gate.set()
        return await one.answer()

    assert asyncio.run(ask()) == (b"".join(PAGE), "")
