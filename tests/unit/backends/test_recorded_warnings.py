"""Recording warnings in two threads at once leaves the process as it was."""

import threading
import warnings

from atoll.backends.recorded_warnings import recorded_warnings


def test_warnings_are_recorded_and_not_shown() -> None:
    with recorded_warnings() as told:
        warnings.warn("so it is", UserWarning, stacklevel=1)
        warnings.warn("so it is", UserWarning, stacklevel=1)
    assert [str(one.message) for one in told] == ["so it is", "so it is"]


def test_two_loads_at_once_leave_filters_and_display_as_they_were() -> None:
    before = list(warnings.filters)
    ready, inside, done = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        ready.set()
        with recorded_warnings():
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    with recorded_warnings() as told:
        thread.start()
        ready.wait(60)
        assert not inside.wait(0.2)  # both inside, each would restore what the other has set
    assert inside.wait(60)
    done.set()
    thread.join()
    assert warnings.filters == before
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        warnings.warn("later", UserWarning, stacklevel=1)
    assert told == []
    assert [str(one.message) for one in shown] == ["later"]
