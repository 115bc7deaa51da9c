"""The last errors: the newest first, and no more of them than there is room for."""

import threading

from atoll.errors import InternalError
from atoll.observability.statistics.recent_errors import MAX_TEXT, MOST, RecentErrors


def test_the_newest_comes_first_with_all_that_is_known() -> None:
    errors = RecentErrors()
    errors.note("m", "1", "7", "BACKEND", InternalError("no ink"))
    errors.note("m", "2", "8", "INVALID_ARG", InternalError("no paper"))
    newest, older = errors.latest()
    assert (newest.model, newest.version, newest.request_id, newest.reason, newest.text) == (
        *("m", "2", "8", "INVALID_ARG", "no paper"),
    )
    assert (older.version, older.text) == ("1", "no ink")
    assert newest.time_s >= older.time_s > 1.5e9


def test_neither_their_number_nor_what_a_client_sends_makes_them_grow() -> None:
    errors = RecentErrors()
    for number in range(3 * MOST):
        errors.note("m", "1", f"{number}" * 1000, "BACKEND", InternalError("x" * 10 * MAX_TEXT))
    latest = errors.latest()
    assert len(latest) == MOST
    assert latest[0].request_id.startswith(f"{3 * MOST - 1}")
    assert all(len(one.request_id) == len(one.text) == MAX_TEXT for one in latest)


def test_many_threads_note_while_others_look() -> None:
    errors = RecentErrors()

    def note(version: str) -> None:
        for number in range(500):
            errors.note("m", version, str(number), "BACKEND", InternalError("no"))

    writers = [threading.Thread(target=note, args=(str(number),)) for number in range(3)]
    for one in writers:
        one.start()
    while any(one.is_alive() for one in writers):
        for version in "012":
            numbers = [int(one.request_id) for one in errors.latest() if one.version == version]
            assert numbers == sorted(numbers, reverse=True)
    assert len(errors.latest()) == MOST
