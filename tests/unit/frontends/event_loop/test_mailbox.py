"""The loop's mailbox."""

import asyncio
import threading

from atoll.frontends.event_loop.mailbox import Mailbox


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


async def test_letters_of_other_threads_come_in_order_with_one_wake_up():
    loop = asyncio.get_running_loop()
    wake_ups = []

    class Loop:
        def call_soon_threadsafe(self, callback):
            wake_ups.append(callback)
            loop.call_soon_threadsafe(callback)

    mailbox = Mailbox(Loop(), threading.get_ident())
    got = []
    in_thread(lambda: [mailbox.post(got.append, number) for number in range(100)])
    assert got == []
    await asyncio.sleep(0)
    assert got == list(range(100))
    assert len(wake_ups) == 1


async def test_on_the_loops_thread_a_letter_is_delivered_at_once_after_the_earlier_ones():
    mailbox = Mailbox(asyncio.get_running_loop())
    got = []
    in_thread(lambda: mailbox.post(got.append, "earlier"))
    mailbox.post(got.append, "now")
    assert got == ["earlier", "now"]


async def test_a_flood_does_not_keep_the_loop_from_other_work():
    loop = asyncio.get_running_loop()
    mailbox = Mailbox(loop)
    order = []

    def letter(number):
        order.append(number)
        if number < 3:
            in_thread(lambda: mailbox.post(letter, number + 1))
            loop.call_soon(order.append, "other work")

    in_thread(lambda: mailbox.post(letter, 0))
    while 3 not in order:
        await asyncio.sleep(0)
    assert order.index("other work") < order.index(3)


def test_after_the_loop_has_closed_letters_are_dropped():
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop, thread_id=-1)
    loop.close()
    mailbox.post(lambda: None)
