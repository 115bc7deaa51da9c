"""The count of requests in flight: exact, whatever becomes of them."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models.made_model import model_of

from atoll.config.inflight_limit import inflight_limit, inflight_limit_problems
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.errors import AtollError, Code, InvalidArgumentError, OverloadedError, UnavailableError
from atoll.execution.clock import Clock
from atoll.execution.deadline import Deadlines
from atoll.models.admission import Admission, model_admission, server_admission
from atoll.models.model import Model
from atoll.request import InferenceRequest, InferenceResponse


class Pool:
    """Keeps what it takes until the test says what becomes of it."""

    last_used_ns = 0

    def __init__(self) -> None:
        self.requests: list[InferenceRequest] = []
        self.refusal: AtollError | None = None

    def start(self) -> None: ...
    def refuse(self) -> None: ...

    def submit(self, request: InferenceRequest) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.requests.append(request)

    def answer(self, number: int, count: int, *, last: bool = True, error: AtollError | None = None) -> None:
        request = self.requests.pop(number % len(self.requests))
        for left in reversed(range(count)):
            request.sender.send(InferenceResponse("m", "1", error=error), last and left == 0)
        if not last or not count:
            request.sender.send(None, True)


class Sender:
    def __init__(self, on_final: Callable[[], None] = lambda: None) -> None:
        self.responses = 0
        self.finals = 0
        self.on_final = on_final

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.responses += response is not None
        self.finals += final
        if final:
            self.on_final()


def made(server: Admission | None, own: Admission | None, clock: Clock | None = None) -> tuple[Model, Pool]:
    pool = Pool()
    deadlines = Deadlines(clock or Clock(), "m", "1")
    return model_of(pool, ModelConfig(name="m", backend="x"), deadlines, server=server, own=own), pool


def request(sender: Sender | None = None) -> InferenceRequest:
    return InferenceRequest("m", {}, sender or Sender())


def refused(model: Model, one: InferenceRequest | None = None) -> str:
    with pytest.raises(OverloadedError) as caught:
        model.submit(one or request())
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.retry_after_s == 1
    return str(caught.value)


def test_over_the_servers_limit_clients_are_refused_and_the_engine_is_not() -> None:
    server = server_admission(2)
    assert server is not None
    model, pool = made(server, None)
    one = request()
    sender = one.sender
    for _ in range(2):
        model.submit(request())
    assert refused(model, one) == (
        "the server has 2 requests in flight, which is all that --max-inflight-requests allows: try again in 1 s"
    )
    assert one.sender is sender
    model.accept(request())
    assert (server.count, len(pool.requests)) == (2, 3)
    assert model.recorder.snapshot().failures["REJECTED"] == 1
    pool.answer(2, 1)
    assert server.count == 2
    pool.answer(0, 1)
    model.submit(request())
    assert server.count == 2


def test_over_a_models_limit_everybody_is_refused() -> None:
    server, own = server_admission(9), model_admission(1, "m")
    assert server is not None
    assert own is not None
    model, pool = made(server, own)
    model.accept(request())
    text = "model 'm' has 1 requests in flight, which is all that its parameter 'max_inflight_requests' allows"
    assert refused(model).startswith(text)
    with pytest.raises(OverloadedError):
        model.accept(request())
    assert (server.count, own.count) == (0, 1)
    assert model.recorder.snapshot().failures["REJECTED"] == 2
    pool.answer(0, 1)
    model.submit(request())
    assert (server.count, own.count) == (1, 1)


def test_who_has_his_answer_may_send_the_next_at_once() -> None:
    model, pool = made(server_admission(1), model_admission(1, "m"))
    model.submit(request(Sender(on_final=lambda: model.submit(request()))))
    pool.answer(0, 1)
    assert len(pool.requests) == 1


def test_no_limit_costs_nothing() -> None:
    assert server_admission(0) is None
    assert model_admission(0, "m") is None
    model, pool = made(None, None)
    sender = Sender()
    model.submit(request(sender))
    assert pool.requests[0].sender is sender


def test_a_request_that_its_successor_takes_counts_once() -> None:
    server = server_admission(5)
    assert server is not None
    (old, old_pool), (new, new_pool) = made(server, model_admission(2, "m")), made(server, model_admission(2, "m"))
    old.retire(lambda _: new)
    old_pool.refusal = UnavailableError("gone")
    sender = Sender()
    old.submit(request(sender))
    assert server.count == 1
    new_pool.answer(0, 1)
    assert (server.count, sender.finals, sender.responses) == (0, 1, 1)


def test_a_deadline_that_is_over_while_the_request_is_refused_counts_once() -> None:
    server = server_admission(2)
    assert server is not None
    clock = Clock()
    model, pool = made(server, None, clock)
    sender = Sender()

    def submit(one: InferenceRequest) -> None:
        one.sender.exceed()  # type: ignore[attr-defined]
        raise UnavailableError("it stops")

    pool.submit = submit  # type: ignore[method-assign]
    one = request(sender)
    one.deadline_ns = 1 << 62
    model.submit(one)  # it raises nothing: who hears an error from it answers his client himself
    assert (server.count, sender.finals, sender.responses) == (0, 1, 1)
    other, other_pool = made(server, None, clock)
    model.retire(lambda _: other)
    two = request(late := Sender())
    two.deadline_ns = 1 << 62
    model.submit(two)
    assert (server.count, late.finals, other_pool.requests) == (0, 1, [])
    clock.close()


def test_a_limit_below_0_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="max_inflight_requests is -1 but must be 0"):
        server_admission(-1)


def configured(text: str) -> ModelConfig:
    return ModelConfig(name="m", parameters={"max_inflight_requests": ModelParameter(string_value=text)})


@pytest.mark.parametrize(("text", "limit"), [("", 0), ("0", 0), ("8", 8), ("1000000000", 10**9)])
def test_a_models_limit_is_read(text: str, limit: int) -> None:
    assert inflight_limit(configured(text)) == limit
    assert not inflight_limit_problems(configured(text), "m")


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "1000000001", "9" * 5000, "\u0663"])
def test_a_models_limit_that_is_none_is_named(text: str) -> None:
    [problem] = inflight_limit_problems(configured(text), "m")
    assert problem.path == "parameters.max_inflight_requests"
    assert problem.message.startswith(f"parameter 'max_inflight_requests' of model 'm' is '{text}' but must be a whole")
    assert inflight_limit(configured(text)) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "accept", "refused", "answer", "decoupled", "fail", "late"]), st.integers(0, 9)
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 3), st.integers(0, 3))
def test_the_count_is_exact_whatever_becomes_of_requests(
    steps: list[tuple[str, int]], limit: int, own_limit: int
) -> None:
    server, own = server_admission(limit), model_admission(own_limit, "m")
    clock = Clock()
    model, pool = made(server, own, clock)
    senders: list[Sender] = []
    clients: dict[int, InferenceRequest] = {}  # by their identity, those that count against the server
    try:
        for step, number in steps:
            if step in ("submit", "accept", "refused", "late"):
                sender = Sender()
                one = request(sender)
                one.deadline_ns = 1 if step == "late" else 0
                pool.refusal = InvalidArgumentError("no") if step == "refused" else None
                door = model.accept if step == "accept" else model.submit
                try:
                    door(one)
                except OverloadedError:
                    assert (limit and len(clients) >= limit) or (own_limit and len(pool.requests) >= own_limit)
                except AtollError:
                    assert step in ("refused", "late")
                else:
                    senders.append(sender)
                    if step != "accept":
                        clients[id(one)] = one
                if not senders or senders[-1] is not sender:
                    assert one.sender is sender
            elif pool.requests:
                clients.pop(id(pool.requests[number % len(pool.requests)]), None)
                if step == "answer":
                    pool.answer(number, 1)
                elif step == "fail":
                    pool.answer(number, 1, error=UnavailableError("it failed"))
                else:
                    pool.answer(number, number % 4, last=False)
            if server is not None:
                assert server.count == len(clients) <= limit
            if own is not None:
                assert own.count == len(pool.requests) <= own_limit
        while pool.requests:
            pool.answer(0, 1)
    finally:
        clock.close()
    assert all(sender.finals == 1 for sender in senders)
    assert (server.count if server else 0, own.count if own else 0) == (0, 0)


def test_many_threads_never_exceed_it() -> None:
    admission = Admission(3, "it", "that")
    most, lock = 0, threading.Lock()
    inside = 0

    def client() -> None:
        nonlocal most, inside
        for _ in range(300):
            one = request()
            try:
                admission.admit(one)
            except OverloadedError:
                continue
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1
            one.sender.send(None, True)

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 3
    assert admission.count == 0
