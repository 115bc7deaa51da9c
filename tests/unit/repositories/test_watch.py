"""When files have come to rest, against the rule written out plainly and against copies that take their time."""

from hypothesis import given
from hypothesis import strategies as st

from atoll.repositories.fingerprint import Changes, changed_versions
from atoll.repositories.watcher import Watch

STATES = [{}, {"1/a": "p"}, {"1/a": "q"}, {"1/a": "q", "config.pbtxt": "p"}]
LOOKS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40)


def test_a_new_model_is_said_once_it_rests() -> None:
    watch = Watch(10)
    assert watch.observe({}, 0) is None
    assert watch.observe({"1/a": "p"}, 1) is None
    assert watch.unsettled
    assert watch.observe({"1/a": "p", "2/a": "p"}, 5) is None
    assert watch.observe({"1/a": "p", "2/a": "p"}, 14) is None
    assert watch.observe({"1/a": "p", "2/a": "p"}, 15) == Changes(True, frozenset({1, 2}))
    assert not watch.unsettled
    assert watch.observe({"1/a": "p", "2/a": "p"}, 99) is None


def test_a_folder_without_files_is_said_once() -> None:
    watch = Watch(10)
    assert watch.observe({}, 0) is None
    assert watch.unsettled
    assert watch.observe({}, 10) == Changes(True, frozenset())
    assert watch.known == {}
    assert watch.observe({}, 30) is None
    assert not watch.unsettled


def test_what_is_known_is_no_change_and_what_goes_is_one() -> None:
    watch = Watch(10, {"1/a": "p", "config.pbtxt": "p"})
    assert watch.observe({"1/a": "p", "config.pbtxt": "p"}, 100) is None
    assert watch.observe({}, 101) is None
    assert watch.observe({}, 111) == Changes(True, frozenset({1}))
    assert watch.known == {}


def test_what_is_taken_back_in_time_was_no_change() -> None:
    watch = Watch(10, {"1/a": "p"})
    assert watch.observe({"1/a": "q"}, 0) is None
    assert watch.observe({"1/a": "p"}, 9) is None
    assert not watch.unsettled
    assert watch.observe({"1/a": "q"}, 12) is None, "the time from before does not count"
    assert watch.observe({"1/a": "q"}, 22) is not None


def test_without_a_time_to_settle_a_change_counts_at_once() -> None:
    assert Watch(0).observe({"1/a": "p"}, 7) == Changes(True, frozenset({1}))


def test_the_callers_mappings_are_not_kept() -> None:
    files = {"1/a": "p"}
    watch = Watch(0, files)
    files["1/a"] = "q"
    assert watch.observe(files, 0) == Changes(False, frozenset({1}))
    files["1/a"] = "r"
    assert watch.observe(files, 1) == Changes(False, frozenset({1}))


@given(st.integers(0, 12), st.integers(0, 3), LOOKS)
def test_a_change_is_said_exactly_when_it_has_been_the_same_for_long_enough(
    settle: int, first: int, looks: list[tuple[int, int]]
) -> None:
    watch = Watch(settle, STATES[first])
    known = first
    history: list[tuple[int, int]] = []  # state and time of each look since the last change that was said
    now = 0
    for state, passed in looks:
        now += passed
        history.append((state, now))
        same_since = now
        for earlier, then in reversed(history):
            if earlier != state:
                break
            same_since = then
        expected = None
        if state != known and now - same_since >= settle:
            expected = changed_versions(STATES[known], STATES[state])
            known = state
        assert watch.observe(STATES[state], now) == expected
        assert watch.known == STATES[known]
        if expected is not None:
            history = [(state, now)]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20), st.lists(st.integers(1, 30), max_size=60), st.integers(0, 50)
)
def test_a_model_that_is_being_copied_is_never_taken(pauses: list[int], looks: list[int], start: int) -> None:
    """A copy that writes something every `pauses` steps, each shorter than the time to settle, watched at odd times."""
    written = [start + sum(pauses[:count]) for count in range(len(pauses) + 1)]  # when each piece is on disk
    watch = Watch(10)
    now = 0
    said = []
    watch.observe({}, -20)
    assert watch.observe({}, -10) is not None, "an empty folder came first"
    for passed in [*looks, *[10] * 40]:
        now += passed
        pieces = sum(moment <= now for moment in written)
        files = {f"1/{piece // 3}": str(min(2, pieces - 1 - piece // 3 * 3)) for piece in range(pieces)}
        if watch.observe(files, now) is not None:
            said.append(pieces)
    assert said == [len(written)]
