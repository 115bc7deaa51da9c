"""What is put in for writing is written once and in its order, and what need not be alone is written together."""

import threading
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.observability.tracing.record import Record
from atoll.observability.tracing.record_thread import TOGETHER_BYTES, RecordThread


def record(number: int) -> Record:
    return Record(timestamps=True, tensors=False, context=None, next_id=lambda: number, collect=lambda _: None)


class Written:
    """Takes what is written; the first call waits until `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls: list[tuple[list[Record], bool]] = []

    def __call__(self, records: Sequence[Record], indexed: bool, lost: int) -> None:
        assert self.go.wait(30)
        assert not lost
        self.calls.append((list(records), indexed))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=12))
def test_each_record_is_written_once_and_in_order(puts: list[tuple[int, bool]]) -> None:
    written = Written()
    thread = RecordThread("test", written)
    made = [([record(number) for number in range(count)], indexed) for count, indexed in puts]
    for records, indexed in made:
        thread.put(records, indexed)
    written.go.set()
    assert thread.close(30)
    assert [one for records, _ in written.calls for one in records] == [one for records, _ in made for one in records]
    assert [records for records, indexed in written.calls if indexed] == [
        records for records, indexed in made if indexed
    ]


def test_what_waits_is_written_together_up_to_a_size() -> None:
    written = Written()
    thread = RecordThread("test", written)
    one = record(1)
    one.begin(None, "m")
    count = 3 * TOGETHER_BYTES // one.weight
    for _ in range(count):
        thread.put([one], False)
    written.go.set()
    assert thread.close(30)
    sizes = [sum(each.weight for each in records) for records, _ in written.calls]
    assert sum(map(len, (records for records, _ in written.calls))) == count
    assert max(sizes) <= TOGETHER_BYTES
    assert len(sizes) <= 5  # the first one, which was there when the thread began, and four
