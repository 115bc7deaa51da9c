"""An instance that takes requests as they are: what it answers, counts and forgets, without a pool."""

import threading
from collections.abc import Sequence

import pytest
from tests.unit.execution.forwarding import FakeRequests, Forwarding, Heard

from atoll.backends.api import RequestInstance
from atoll.errors import AtollError, CancelledError, InternalError
from atoll.execution.request_instance import RequestModelInstance
from atoll.execution.warmup import WarmupSample, warmup_samples
from atoll.request import QUEUED, InferenceRequest
from atoll.tensor import DataType, Tensor


class Room:
    """Notes what an instance says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.requeued: list[InferenceRequest] = []

    def released(self, instance: RequestModelInstance, requests: Sequence[InferenceRequest]) -> None:
        self.said.append("released")

    def answered(self) -> None:
        self.said.append("answered")

    def requeue(self, instance: RequestModelInstance, request: InferenceRequest) -> None:
        self.said.append("requeue")
        self.requeued.append(request)

    def down(
        self, instance: RequestModelInstance, reason: str, batches: Sequence[Sequence[InferenceRequest]] = ()
    ) -> None:
        self.said.append(f"down {reason}")

    def up(self, instance: RequestModelInstance) -> None:
        self.said.append("up")

    def advance(self) -> None:
        self.said.append("advance")


class One:
    """An instance over a fake, in a room."""

    def __init__(self, depth: int = 0) -> None:
        self.harness = Forwarding(depth=depth)
        self.instance = self.harness.instance()
        self.fake: FakeRequests = self.harness.fakes[self.instance]
        self.fake.allowed = 100
        self.room = Room()
        self.instance.attach(self.room)

    def request(self) -> tuple[InferenceRequest, Heard]:
        heard = Heard()
        request = InferenceRequest("m", {}, heard, id="7")
        request.move(QUEUED)
        return request, heard


@pytest.fixture
def one() -> One:
    return One()


def test_a_response_carries_the_models_name_and_the_requests_id(one: One) -> None:
    request, heard = one.request()
    assert one.instance.begin([request])
    assert one.instance.holds
    one.fake.respond(request)
    [response] = heard.responses
    assert (response.model_name, response.model_version, response.id, heard.finals) == ("m", "1", "7", 1)
    assert not one.instance.holds
    one.fake.release(1)
    assert one.room.said == ["answered", "advance", "released", "advance"]
    counted = one.harness.statistics.snapshot(0)
    assert (counted.inference_count, counted.execution_count) == (1, 1)


def test_an_error_takes_the_outputs_place_and_is_counted(one: One) -> None:
    request, heard = one.request()
    one.instance.begin([request])
    one.fake.answers.respond(request, [], error=InternalError("no"))
    assert heard.error == "no"
    assert heard.responses[0].outputs == []
    assert one.harness.statistics.snapshot(0).fail.count == 1


def test_many_responses_and_an_end_without_one(one: One) -> None:
    request, heard = one.request()
    one.instance.begin([request])
    for _ in range(3):
        one.fake.respond(request, final=False)
    assert (len(heard.responses), heard.finals) == (3, 0)
    one.fake.finish(request)
    assert (len(heard.responses), heard.finals) == (3, 1)


def test_a_request_that_is_executed_again_is_counted_once_and_with_the_times_of_the_last_execution(one: One) -> None:
    request, heard = one.request()
    one.instance.begin([request])
    one.fake.reschedule(request)
    one.instance.begin([request])  # before its first execution is over
    one.fake.release(1)
    one.fake.reschedule(request)
    one.fake.release(2)
    one.instance.begin([request])
    one.fake.respond(request)  # before its last one is
    one.fake.release(3)
    counted = one.harness.statistics.snapshot(0)
    assert heard.finals == counted.success.count == counted.inference_count == 1
    assert counted.execution_count == 3
    assert counted.compute_input.ns >= 0
    assert counted.compute_output.ns == 0
    stamps = request.timeline
    assert counted.compute_infer.ns == stamps.request_end - counted.queue.ns - stamps.queue_start


def test_the_end_of_an_execution_before_is_not_that_of_the_one_that_answers(one: One) -> None:
    request, _ = one.request()
    one.instance.begin([request])
    one.fake.reschedule(request)
    one.instance.begin([request])
    begun_ns = request.timeline.compute_start
    one.fake.release(1)
    one.fake.respond(request)
    assert request.timeline.compute_start == begun_ns
    assert one.harness.statistics.snapshot(0).compute_output.ns == 0


def test_outputs_that_nobody_expects_are_sent_and_said_once(one: One, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        request, heard = one.request()
        one.instance.begin([request])
        one.fake.answers.respond(request, [Tensor("ELSE", DataType.FP32, (1,), buffer=b"1234")])
        assert [tensor.name for tensor in heard.responses[0].outputs] == ["ELSE"]
    assert caplog.text.count("'ELSE'") == 1


def test_what_comes_after_the_end_is_nothing(one: One) -> None:
    request, heard = one.request()
    one.instance.begin([request])
    one.fake.respond(request)
    said = list(one.room.said)
    for speak in (one.fake.answers.respond, lambda *_: one.fake.answers.finish(request)):
        speak(request, [])
    one.fake.answers.respond(request, [], final=False)
    one.fake.answers.reschedule(request)
    one.fake.answers.released(99, 5)
    assert (heard.finals, len(heard.responses), one.room.said) == (1, 1, said)


def test_withdrawn_requests_are_not_given_and_the_others_are(one: One) -> None:
    (first, first_heard), (second, _) = one.request(), one.request()
    first.cancel()
    assert one.instance.begin([first, second])
    assert isinstance(first_heard.responses[0].error, CancelledError)
    assert one.fake.batches == {1: [second]}
    third, _ = one.request()
    third.cancel()
    assert not one.instance.begin([third])


def test_who_withdraws_is_heard_by_the_backend_until_the_end(one: One) -> None:
    request, heard = one.request()
    one.instance.begin([request])
    request.cancel()
    assert one.fake.cancelled == [request]
    assert not heard.finals  # it is answered all the same
    one.fake.respond(request)
    request.cancel()
    assert one.fake.cancelled == [request]


def test_who_withdraws_on_the_way_is_heard(one: One) -> None:
    request, _ = one.request()
    begin = one.fake.begin

    def withdraw_and_begin(batch: int, requests: list[InferenceRequest]) -> None:
        request.cancelled = True  # between the look and the hearing
        begin(batch, requests)

    one.fake.begin = withdraw_and_begin  # type: ignore[method-assign,assignment]
    one.instance.begin([request])
    assert one.fake.cancelled == [request]


def test_what_is_scheduled_again_is_the_rooms(one: One) -> None:
    request, heard = one.request()
    one.instance.begin([request])
    one.fake.reschedule(request)
    assert (one.room.requeued, request.state, heard.finals) == ([request], QUEUED, 0)
    assert not one.instance.holds
    assert one.instance.begin([request])
    one.fake.respond(request)
    assert heard.finals == 1


def test_its_end_fails_what_it_has_before_the_room_hears_of_it(one: One) -> None:
    asked = [one.request() for _ in range(3)]
    one.instance.begin([request for request, _ in asked])
    one.fake.die("it died")
    assert [heard.error for _, heard in asked] == ["it died"] * 3
    assert one.room.said == ["answered"] * 3 + ["down it died"]
    one.fake.come_back()
    assert one.room.said[-1] == "up"


def test_a_close_fails_what_it_has_and_what_comes_while_it_closes(one: One) -> None:
    before, before_heard = one.request()
    one.instance.begin([before])
    one.fake.clean = False
    assert not one.instance.close(0)
    assert "was stopped" in before_heard.error
    late, late_heard = one.request()
    one.fake.begin = lambda batch, requests: None  # type: ignore[method-assign]
    one.instance.begin([late])
    assert "was stopped" in late_heard.error
    assert not one.instance.holds


def test_it_takes_more_beforehand_while_its_executions_are_short() -> None:
    one = One(depth=3)
    assert one.instance.limit(9) == 1
    for number in range(1, 40):
        request, _ = one.request()
        one.instance.begin([request])
        one.fake.respond(request)
        one.fake.release(number)
    assert [one.instance.limit(ahead) for ahead in (0, 2, 9)] == [1, 3, 4]
    request, _ = one.request()
    one.instance.begin([request])
    one.fake.answers.released(40, 10**9)
    assert one.instance.limit(9) == 1


# ---- warm-up


class Warmed(FakeRequests):
    """Does something with each batch as soon as it is to go, on a thread of its own."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.count = 0

    def flush(self) -> None:
        super().flush()
        threading.Thread(target=self._act).start()

    def _act(self) -> None:
        if self.what == "die":
            self.die("it died of it")
            return
        for request in list(self.waiting):
            self.count += 1
            if self.what == "answer":
                self.respond(request)
            elif self.what == "finish":
                self.finish(request)
            elif self.what == "reschedule":
                self.reschedule(request)
            else:
                self.waiting.remove(request)
                self.answers.respond(request, [], error=InternalError("it will not"))
        self.release(next(iter(self.batches)))


def warmed(what: str) -> Warmed:
    from dataclasses import replace
    from pathlib import Path

    from atoll.config.model_config import ModelWarmup

    harness = Forwarding()
    fake = Warmed(what)
    backend: RequestInstance = fake
    instance = RequestModelInstance("m_0", backend, harness.plan, "1", harness.statistics)
    values = ModelWarmup.Input(data_type=DataType.INT32, dims=(2,), zero_data=True)
    config = replace(
        harness.config, model_warmup=(ModelWarmup(name="w", batch_size=2, count=3, inputs={"IN": values}),)
    )
    samples: list[WarmupSample] = list(warmup_samples(config, Path(), lambda request: None))
    instance.warm_up(samples)
    return fake


@pytest.mark.parametrize("what", ["answer", "finish"])
def test_warm_up_waits_for_each_answer(what: str) -> None:
    assert warmed(what).count >= 3


@pytest.mark.parametrize(("what", "text"), [("die", "died"), ("fail", "will not"), ("reschedule", "again")])
def test_a_warm_up_that_fails_says_why(what: str, text: str) -> None:
    with pytest.raises(AtollError, match=text):
        warmed(what)
