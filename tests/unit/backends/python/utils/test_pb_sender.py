"""InferenceResponseSender: what a model may send, and what becomes of a request that it forgets."""

import gc
import threading
from typing import Any

import pytest
from tests.unit.backends.python.utils.model_host import RecordedDelivery, floats, received

from atoll.backends.python.utils import (
    TRITONSERVER_RESPONSE_COMPLETE_FINAL,
    InferenceResponse,
    Tensor,
    TritonError,
    TritonModelException,
)

FINAL = TRITONSERVER_RESPONSE_COMPLETE_FINAL
CLOSED = "Unable to send response. Response sender has been closed."


def response(*names: str) -> InferenceResponse:
    return InferenceResponse([Tensor(name, floats(1)) for name in names or ("OUTPUT",)])


@pytest.fixture
def delivery() -> RecordedDelivery:
    return RecordedDelivery()


def refusal(sender: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(TritonModelException) as raised:
        sender.send(*arguments, **named)
    return str(raised.value)


def test_a_decoupled_model_sends_any_number(delivery: RecordedDelivery) -> None:
    request = received(delivery, decoupled=True)
    sender = request.get_response_sender()
    assert request.get_response_sender() is sender
    sender.send(response())
    sender.send(response())
    assert not request.is_finished()
    sender.send(flags=FINAL)
    assert request.is_finished()
    assert delivery.finals == [False, False, True]
    assert delivery.sent[-1][0] is None
    assert delivery.flushes == 3
    for late in ((response(),), (response(), FINAL), (None, FINAL)):
        assert refusal(sender, *late) == CLOSED
    assert not request.finish(response())


def test_the_last_response_can_say_that_it_is_the_last(delivery: RecordedDelivery) -> None:
    received(delivery, decoupled=True).get_response_sender().send(response(), FINAL)
    assert delivery.finals == [True]


def test_an_error_is_a_response_like_others_to_a_decoupled_model(delivery: RecordedDelivery) -> None:
    sender = received(delivery, decoupled=True).get_response_sender()
    sender.send(InferenceResponse([], TritonError("bad")))
    sender.send(response(), FINAL)
    assert delivery.finals == [False, True]


def test_any_other_model_sends_one(delivery: RecordedDelivery) -> None:
    sender = received(delivery).get_response_sender()
    assert refusal(sender, flags=FINAL) == (
        "Unable to send response. Non-decoupled model cannot send complete final before sending a response."
    )
    sender.send(response())
    assert delivery.finals == [True]  # nothing can follow, so that the client need not wait
    assert refusal(sender, response()) == (
        "Unable to send response. Non-decoupled model cannot send more than one response."
    )
    sender.send(flags=FINAL)
    assert refusal(sender, flags=FINAL) == CLOSED
    assert len(delivery.sent) == 1


def test_what_execute_returns_after_the_sender_has_answered_is_not_sent(delivery: RecordedDelivery) -> None:
    request = received(delivery)
    request.get_response_sender().send(response(), FINAL)
    assert not request.finish(response())
    assert len(delivery.sent) == 1


def test_after_the_runner_ended_a_request_its_sender_is_closed(delivery: RecordedDelivery) -> None:
    request = received(delivery, decoupled=True)
    sender = request.get_response_sender()
    assert request.finish(InferenceResponse([], TritonError("raised")))
    assert refusal(sender, response()) == CLOSED


def test_a_request_that_was_given_back_takes_no_response(delivery: RecordedDelivery) -> None:
    request = received(delivery, decoupled=True)
    sender = request.get_response_sender()
    assert request.reschedule()
    assert not request.reschedule()
    assert refusal(sender, response()) == CLOSED
    assert delivery.rescheduled == 1


@pytest.mark.parametrize("flags", [2, 3, 7])
def test_other_flags_are_refused(delivery: RecordedDelivery, flags: int) -> None:
    sender = received(delivery).get_response_sender()
    assert refusal(sender, response(), flags) == "Unable to send response. Unsupported flag provided."


def test_something_is_to_be_sent(delivery: RecordedDelivery) -> None:
    assert refusal(received(delivery).get_response_sender()) == (
        "Inference Response object must be provided when the response flags is set to zero."
    )


@pytest.mark.parametrize("arguments", [(5,), (response(), "a"), (response(), -1), ([response()],), (response(), None)])
def test_other_arguments_are_type_errors(delivery: RecordedDelivery, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"^send\(\): incompatible function arguments"):
        received(delivery).get_response_sender().send(*arguments)


def test_only_requested_outputs_are_sent(delivery: RecordedDelivery) -> None:
    sender = received(delivery, requested_output_names=["B"], decoupled=True).get_response_sender()
    sender.send(response("A", "B"), FINAL)
    sent = delivery.sent[0][0]
    assert sent is not None
    assert [tensor.name for tensor in sent.tensors] == ["B"]


@pytest.mark.parametrize("sent", [0, 2])
def test_a_forgotten_request_ends_with_an_error(delivery: RecordedDelivery, sent: int) -> None:
    request = received(delivery, model_name="this", decoupled=True)
    sender = request.get_response_sender()
    for _ in range(sent):
        sender.send(response())
    del request
    assert not delivery.ended.is_set()  # the model may still hold only the sender
    del sender
    gc.collect()
    assert delivery.ended.wait(10)
    last = delivery.sent[-1][0]
    assert delivery.finals == [False] * sent + [True]
    assert last is not None
    assert last.error() is not None
    assert "model 'this' let go of the request without sending its final response" in last.error().message()  # type: ignore[union-attr]


def test_a_request_holds_its_sender(delivery: RecordedDelivery) -> None:
    request = received(delivery, decoupled=True)
    request.get_response_sender()
    gc.collect()
    assert not delivery.ended.wait(0.05)
    request.get_response_sender().send(response(), FINAL)
    del request
    assert delivery.finals == [True]


def test_threads_that_race_end_a_request_once(delivery: RecordedDelivery) -> None:
    sender = received(delivery, decoupled=True).get_response_sender()
    start = threading.Barrier(8)
    refused = []

    def send() -> None:
        start.wait()
        for flags in (0, 0, FINAL):
            try:
                sender.send(response(), flags)
            except TritonModelException as error:
                refused.append(str(error))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert delivery.finals.count(True) == 1
    assert delivery.finals[-1]
    assert set(refused) == {CLOSED}
    assert len(refused) + len(delivery.sent) == 24
