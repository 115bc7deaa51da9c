"""Responses of one request by their place: kinds, durations, and an end to how many are told apart."""

from atoll.errors import CancelledError, InternalError
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.responses import MAX_PLACES, ResponseProgress, ResponseRecorder, ResponseStatistics


def test_each_response_counts_at_its_place_from_the_one_before_it() -> None:
    recorder = ResponseRecorder()
    first, second = ResponseProgress(recorder, 100), ResponseProgress(recorder, 1000)
    first.record(130)
    first.record(170)
    first.record(175, empty=True)
    second.record(1007)
    second.record(1010, error=InternalError("no"))
    assert recorder.snapshot() == (
        ResponseStatistics(compute_infer=Duration(2, 37), compute_output=Duration(2, 0), success=Duration(2, 37)),
        ResponseStatistics(
            compute_infer=Duration(2, 43),
            compute_output=Duration(1, 0),
            success=Duration(1, 40),
            fail=Duration(1, 3),
        ),
        ResponseStatistics(empty_response=Duration(1, 5)),
    )


def test_a_cancelled_request_is_no_failure() -> None:
    recorder = ResponseRecorder()
    ResponseProgress(recorder, 0).record(9, error=CancelledError("gone"))
    (only,) = recorder.snapshot()
    assert only.cancel == Duration(1, 9)
    assert only.fail == only.success == only.compute_infer == Duration()


def test_an_endless_answer_does_not_grow_the_statistics() -> None:
    recorder = ResponseRecorder()
    progress = ResponseProgress(recorder, 0)
    for moment in range(MAX_PLACES + 100):
        progress.record(moment)
    assert len(recorder.snapshot()) == MAX_PLACES
    ResponseProgress(recorder, 0).record(5)
    assert recorder.snapshot()[0].success.count == 2
