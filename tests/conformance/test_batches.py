"""Which requests are executed together: the batches that the real server was seen to form, in the same situations."""

from collections import Counter

import pytest
from tests.conformance.gated import GatedServer

# Requests of so many rows wait for an instance that is busy; max_batch_size is 8, and there is no queue delay.
# Seen on the real server (2.51), where a model of its Python backend kept the instance busy.
SITUATIONS = {
    "batched": [
        ([1] * 10, [8, 2]),
        ([1] * 3, [3]),
        ([1] * 20, [8, 8, 4]),
        ([3, 3, 3], [6, 3]),
        ([2] * 5, [8, 2]),
        ([5, 5], [5, 5]),
        ([4, 1, 4], [5, 4]),
        ([7, 2], [7, 2]),
        ([8, 8], [8, 8]),
        ([1, 8, 1], [1, 8, 1]),
    ],
    "preferred": [  # preferred_batch_size 4
        ([1] * 10, [4, 4, 2]),
        ([1] * 3, [3]),
        ([1] * 5, [4, 1]),
        ([1] * 20, [4, 4, 4, 4, 4]),
        ([3, 3, 3], [6, 3]),
        ([2] * 5, [4, 4, 2]),
        ([5, 5], [5, 5]),
        ([4, 1, 4], [4, 5]),
        ([7, 2], [7, 2]),
        ([1, 8, 1], [1, 8, 1]),
    ],
    "unbatched": [([1] * 4, [1, 1, 1, 1]), ([3, 3, 2], [3, 3, 2])],
}
CASES = [(model, queued, batches) for model, cases in SITUATIONS.items() for queued, batches in cases]


@pytest.mark.parametrize(("model", "queued", "batches"), CASES)
def test_batches_are_those_of_the_real_server(
    gated: GatedServer, model: str, queued: list[int], batches: list[int]
) -> None:
    with gated.closed(model) as closed:
        before = Counter(closed.batches())
        futures = closed.hold(queued)
        closed.open()
        for future in futures:
            future.result()
        formed = Counter(closed.batches()) - before
    assert formed == Counter([1, *batches])


def test_each_request_of_a_batch_gets_its_own_rows(gated: GatedServer) -> None:
    with gated.closed("batched") as closed:
        futures = closed.hold([1, 2, 3])
        closed.open()
        for value, (future, rows) in enumerate(zip(futures[1:], (1, 2, 3), strict=True), start=1):
            answer = future.result()
            assert list(answer.outputs[0].shape) == [rows, 1]
            assert answer.raw_output_contents[0] == value.to_bytes(4, "little") * rows


def test_a_preferred_batch_does_not_wait_for_the_queue_delay(gated: GatedServer) -> None:
    """The delay of this model is longer than a future's timeout."""
    with gated.closed("patient") as closed:
        closed.open()
        before = Counter(closed.batches())
        futures = [closed.send(i) for i in range(8)]
        for future in futures:
            future.result()
        assert sum(size * count for size, count in (Counter(closed.batches()) - before).items()) == 8


def test_a_full_batch_does_not_wait_for_the_queue_delay(gated: GatedServer) -> None:
    with gated.closed("patient") as closed:
        closed.open()
        before = Counter(closed.batches())
        assert closed.send(1, rows=8).result().model_name == "patient"
        assert Counter(closed.batches()) - before == Counter([8])


def test_less_than_a_preferred_batch_goes_when_the_delay_is_over(gated: GatedServer) -> None:
    with gated.closed("hasty") as closed:
        closed.open()
        before = Counter(closed.batches())
        futures = [closed.send(i) for i in range(3)]
        for future in futures:
            future.result()
        assert sum(size * count for size, count in (Counter(closed.batches()) - before).items()) == 3
