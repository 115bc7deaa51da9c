"""The pool of an ensemble: what its steps are asked, and what its requests are answered."""

import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic_ns

import numpy as np
import pytest
from tests.unit.execution.ensembles import (
    PATIENCE_S,
    SECOND_NS,
    Models,
    Running,
    Sender,
    ensemble,
    finish,
    increment,
    model,
    refuse,
    respond,
    step,
    tensor,
)

from atoll.config.tensors import ModelTensorReshape
from atoll.errors import (
    CancelledError,
    InternalError,
    InvalidArgumentError,
    OverloadedError,
    UnavailableError,
)
from atoll.execution.ensembles.run import EnsembleRun
from atoll.request import EXECUTING, QUEUED, InferenceRequest, run_at_once
from atoll.scheduling.ensembles.graph import MOST_PLANS, build_graph
from atoll.scheduling.ensembles.progress import EnsembleProgress
from atoll.tensor import DataType, Tensor
from atoll.trampoline import hold, let_go, soon

CHAIN = ensemble([step("one", {"IN": "A"}, {"OUT": "t"}), step("two", {"IN": "t"}, {"OUT": "Y"})])
BRANCHES = ensemble(
    [
        step("left", {"IN": "A"}, {"OUT": "t"}),
        step("right", {"IN": "A"}, {"OUT": "u"}),
        step("join", {"L": "t", "R": "u"}, {"OUT": "Y"}),
    ]
)
STREAM = ensemble([step("many", {"IN": "A"}, {"OUT": "t"}), step("each", {"IN": "t"}, {"OUT": "Y"})], decoupled=True)
STREAMED = [model(decoupled=True), model()]


def test_a_chain_of_steps_answers_with_what_the_last_one_makes() -> None:
    models = Models(one=increment, two=increment)
    running = Running(CHAIN, models)
    _, sender = running.submit({"A": [1, 2]})
    assert sender.values == [{"Y": [3, 4]}]
    assert sender.finals == 1
    assert (sender.responses[0].model_name, sender.responses[0].model_version) == ("e", "1")
    assert running.pool.in_flight() == 0


def test_a_step_is_asked_for_the_outputs_that_the_ensemble_uses_and_by_its_version() -> None:
    config = ensemble([step("one", {"IN": "A"}, {"X": "t"}), step("two", {"IN": "t"}, {"OUT": "Y"}, version=3)])
    models = Models()
    Running(config, models).submit()
    respond(models.waiting("one"), X=1)
    one, two = models.asked
    assert (one.model_version, one.output_names) == ("", ("X",))
    assert (two.model_version, two.output_names) == ("3", ("OUT",))


def test_what_the_client_said_of_its_request_is_said_of_every_steps() -> None:
    models = Models(one=increment)
    parameters = {"sequence_id": 5, "sequence_start": True, "mine": "x"}
    whole, _ = Running(CHAIN, models).submit(
        parameters=parameters, priority=3, timeout_us=1000, deadline_ns=monotonic_ns() + SECOND_NS
    )
    assert len(models.asked) == 2
    for request in models.asked:
        assert (request.id, request.priority, request.timeout_us) == ("7", 3, 1000)
        assert request.parameters == parameters
        assert request.deadline_ns == whole.deadline_ns
    assert models.waiting("two").parent is whole
    assert models.asked[0].parent is None  # it is answered


def test_tensors_pass_by_reference() -> None:
    models = Models()
    array = np.arange(6, dtype=np.int32)
    given = Tensor("A", DataType.INT32, (6,), buffer=array.tobytes())
    _, sender = Running(CHAIN, models).submit({"A": given})
    taken = models.waiting("one").inputs["IN"]
    assert taken.name == "IN"
    assert taken.buffer is given.buffer
    made = Tensor("OUT", DataType.INT32, (6,), array=array)
    respond(models.waiting("one"), OUT=made)
    assert models.waiting("two").inputs["IN"].array() is array
    respond(models.waiting("two"), OUT=made)
    assert sender.responses[0].outputs[0].array() is array
    assert given.name == "A"


def test_branches_are_submitted_together_and_joined() -> None:
    models = Models()
    _, sender = Running(BRANCHES, models).submit()
    assert models.names == ["left", "right"]
    respond(models.waiting("right"), OUT=2)
    assert models.names == ["left", "right"]
    respond(models.waiting("left"), OUT=1)
    joined = models.waiting("join")
    assert {name: one.array().tolist() for name, one in joined.inputs.items()} == {"L": [1], "R": [2]}
    respond(joined, OUT=3)
    assert sender.values == [{"Y": [3]}]


def test_branches_that_wait_for_each_other_run_side_by_side() -> None:
    both = threading.Barrier(2)

    def meet(request: InferenceRequest) -> None:
        def work() -> None:
            both.wait(PATIENCE_S)
            respond(request, OUT=1)

        threading.Thread(target=work).start()

    models = Models(left=meet, right=meet, join=lambda request: respond(request, OUT=9))
    _, sender = Running(BRANCHES, models).submit()
    sender.ended.get(timeout=PATIENCE_S)
    assert sender.values == [{"Y": [9]}]


def test_a_thousand_steps_cost_no_stack() -> None:
    count = 1000
    names = ["A", *(f"t{number}" for number in range(1, count)), "Y"]
    config = ensemble([step("m", {"IN": names[i]}, {"OUT": names[i + 1]}) for i in range(count)])
    depths = []

    def deep(request: InferenceRequest) -> None:
        depths.append(_depth())
        increment(request)

    _, sender = Running(config, Models(m=deep)).submit({"A": 0})
    assert sender.values == [{"Y": [count]}]
    assert max(depths) - min(depths) < 20


def _depth() -> int:
    frame, depth = inspect.currentframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def test_answers_of_one_batch_become_requests_of_one_batch() -> None:
    models = Models()
    running = Running(CHAIN, models)
    for _ in range(3):
        running.submit()
    outermost = hold()
    for request in list(models.asked):
        respond(request, OUT=1)
    assert models.names == ["one"] * 3
    let_go(outermost)
    assert models.names == ["one"] * 3 + ["two"] * 3


# ---- what is not there


def test_an_optional_input_that_the_client_leaves_out_is_left_out_of_the_steps() -> None:
    config = ensemble([step("m", {"IN": "A", "OPT": "B"}, {"OUT": "Y"})], inputs=("A", "B"), optional=("B",))
    models = Models()
    running = Running(config, models)
    running.submit({"A": 1})
    running.submit({"A": 1, "B": 2})
    assert [list(one.inputs) for one in models.asked] == [["IN"], ["IN", "OPT"]]


def test_an_output_that_a_model_does_not_give_is_left_out_of_what_follows() -> None:
    config = ensemble(
        [step("m", {"IN": "A"}, {"OUT": "Y", "OUT2": "t"}), step("n", {"IN": "A", "OPT": "t"}, {"OUT": "Z"})],
        outputs=("Y", "Z"),
    )
    models = Models()
    _, sender = Running(config, models).submit()
    respond(models.waiting("m"), OUT2=3)
    assert list(models.waiting("n").inputs) == ["IN", "OPT"]
    respond(models.waiting("n"), OTHER=4)
    assert sender.values == [{}]
    assert sender.responses[0].parameters == {}
    assert sender.finals == 1


def test_a_step_that_ends_without_an_answer_ends_the_request() -> None:
    models = Models(one=finish)
    _, sender = Running(CHAIN, models).submit()
    assert sender.error == (
        "in ensemble 'e', [request id: 7] unexpected deadlock, at least one output is not set while no more ensemble "
        "steps can be made"
    )


def test_only_what_is_needed_for_the_outputs_that_were_asked_for_runs() -> None:
    config = ensemble(
        [
            step("one", {"IN": "A"}, {"OUT": "Y"}),
            step("two", {"IN": "Y"}, {"OUT": "Z"}),
            step("three", {"IN": "B"}, {"OUT": "t"}),
            step("four", {"IN": "t"}, {"OUT": "W"}),
        ],
        inputs=("A", "B"),
        outputs=("Y", "Z", "W"),
    )
    for asked, names, values in (
        (["Z"], ["one", "two"], {"Z": [3]}),
        (["Y"], ["one"], {"Y": [2]}),
        (["W", "W"], ["three", "four"], {"W": [3]}),
        ([], ["one", "three", "two", "four"], {"Y": [2], "Z": [3], "W": [3]}),
    ):
        models = Models(one=increment, two=increment, three=increment, four=increment)
        _, sender = Running(config, models).submit({"A": 1, "B": 1}, outputs=asked)
        assert models.names == names
        assert sender.values == [values]


def test_outputs_come_in_the_models_order_each_once() -> None:
    config = ensemble([step("one", {"IN": "A"}, {"Y": "Y", "Z": "Z", "W": "W"})], outputs=("Y", "Z", "W"))
    running = Running(config, Models(one=lambda request: respond(request, W=3, Z=2, Y=1)))
    for asked, expected in (((), "YZW"), (("W", "Z", "Y"), "YZW"), (("W", "Y", "W"), "YW"), (("W", "Y"), "YW")):
        _, sender = running.submit(outputs=asked)
        assert "".join(sender.values[0]) == expected


def test_a_client_that_asks_for_every_combination_of_outputs_fills_no_memory() -> None:
    names = [f"Y{number}" for number in range(8)]
    graph = build_graph(ensemble([step("one", {"IN": "A"}, {name: name for name in names})], outputs=names))
    for chosen in range(1, 255):
        wanted = [name for number, name in enumerate(names) if chosen >> number & 1]
        assert [one.name for one in graph.plan(wanted).outputs] == wanted
    assert len(graph._plans) == MOST_PLANS


# ---- whose thread runs the steps


def test_the_first_steps_are_run_by_the_client_and_the_others_by_who_has_the_answer() -> None:
    turns: list[Callable[[], None]] = []
    for given, expected in ((turns.append, turns.append), (run_at_once, soon), (None, None)):
        models = Models()
        Running(CHAIN, models).submit(defer=given)
        respond(models.waiting("one"), OUT=1)
        assert [one.defer for one in models.asked] == [expected, soon]


# ---- with and without a batch dimension


def test_tensors_get_and_lose_a_batch_dimension_of_one() -> None:
    batching, plain = model(max_batch_size=4), model()
    models = Models()
    Running(CHAIN, models, [batching, plain]).submit({"A": [1, 2]})
    assert models.waiting("one").inputs["IN"].shape == (1, 2)
    made = np.array([[3, 4]], np.int32)
    respond(models.waiting("one"), OUT=Tensor("", DataType.INT32, (1, 2), array=made))
    passed = models.waiting("two").inputs["IN"]
    assert passed.shape == passed.array().shape == (2,)
    assert np.shares_memory(passed.array(), made)


def test_larger_batches_pass_as_they_are() -> None:
    models = Models()
    config = ensemble([step("m", {"IN": "A"}, {"OUT": "Y"})], max_batch_size=4)
    running = Running(config, models, [model()])
    pair = Tensor("A", DataType.INT32, (2, 1), array=np.zeros((2, 1), np.int32))
    _, sender = running.submit({"A": pair})
    assert models.waiting("m").inputs["IN"].shape == (2, 1)
    respond(models.waiting("m"), OUT=[1, 2])
    assert sender.responses[0].outputs[0].shape == (1, 2)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_an_ensemble_may_show_other_shapes_than_its_steps_see(batch: tuple[int, ...]) -> None:
    plain = ensemble([step("m", {"IN": "A"}, {"OUT": "Y"})], max_batch_size=4 * len(batch))
    config = replace(
        plain,
        input=(replace(plain.input[0], dims=(1, -1), reshape=ModelTensorReshape(shape=(-1,))),),
        output=(replace(plain.output[0], dims=(1, -1, 1), reshape=ModelTensorReshape(shape=(-1,))),),
    )
    models = Models()
    shape = (*batch, 1, 3)
    given = Tensor("A", DataType.INT32, shape, array=np.zeros(shape, np.int32))
    _, sender = Running(config, models, [model(max_batch_size=4 * len(batch))]).submit({"A": given})
    taken = models.waiting("m").inputs["IN"]
    assert taken.shape == taken.array().shape == (*batch, 3)
    respond(models.waiting("m"), OUT=Tensor("", DataType.INT32, (*batch, 3), array=taken.array()))
    assert sender.responses[0].outputs[0].array().shape == (*batch, 1, 3, 1)


# ---- decoupled steps


def test_every_answer_of_a_decoupled_step_runs_what_follows() -> None:
    models = Models(each=increment)
    _, sender = Running(STREAM, models, STREAMED).submit()
    many = models.waiting("many")
    respond(many, final=False, OUT=10)
    respond(many, final=False, OUT=20)
    assert sender.values == [{"Y": [11]}, {"Y": [21]}]
    assert not sender.finals
    finish(many)
    assert sender.values == [{"Y": [11]}, {"Y": [21]}]
    assert sender.finals == 1


def test_the_last_answer_is_the_final_one_where_that_is_known() -> None:
    models = Models()
    _, sender = Running(STREAM, models, STREAMED).submit()
    respond(models.waiting("many"), OUT=10)
    assert not sender.responses
    respond(models.waiting("each"), OUT=11)
    assert sender.values == [{"Y": [11]}]
    assert sender.finals == 1


def test_no_answer_at_all_is_a_success_of_a_decoupled_ensemble() -> None:
    models = Models(many=finish)
    running = Running(STREAM, models, STREAMED)
    _, sender = running.submit()
    assert (sender.responses, sender.finals) == ([], 1)
    assert running.statistics.snapshot().success.count == 1


def test_answers_leave_in_the_order_of_the_decoupled_step() -> None:
    config = ensemble(
        [step("many", {"IN": "A"}, {"OUT": "Y"}), step("each", {"IN": "Y"}, {"OUT": "Z"})],
        outputs=("Y", "Z"),
        decoupled=True,
    )
    models = Models()
    _, sender = Running(config, models, STREAMED).submit()
    many = models.waiting("many")
    respond(many, final=False, OUT=1)
    first = models.waiting("each")
    respond(many, final=True, OUT=2)
    second = models.waiting("each")
    respond(second, OUT=20)
    assert not sender.responses
    respond(first, OUT=10)
    assert sender.values == [{"Y": [1], "Z": [10]}, {"Y": [2], "Z": [20]}]


def test_decoupled_steps_one_after_the_other_multiply() -> None:
    config = ensemble(
        [step("many", {"IN": "A"}, {"OUT": "t"}), step("more", {"IN": "t"}, {"OUT": "Y"})], decoupled=True
    )

    def thrice(request: InferenceRequest) -> None:
        for number in range(3):
            respond(request, final=False, OUT=int(request.inputs["IN"].array()[0]) * 10 + number)
        finish(request)

    models = Models(many=thrice, more=thrice)
    _, sender = Running(config, models, [model(decoupled=True)] * 2).submit()
    assert [one["Y"][0] for one in sender.values] == [100, 101, 102, 110, 111, 112, 120, 121, 122]


def test_a_failure_after_answers_ends_a_stream_once() -> None:
    models = Models(each=increment)
    _, sender = Running(STREAM, models, STREAMED).submit()
    many = models.waiting("many")
    respond(many, final=False, OUT=10)
    refuse(many, InternalError("dec said no"))
    assert sender.values == [{"Y": [11]}, {}]
    assert sender.error == "in ensemble 'e', dec said no"
    assert sender.finals == 1


def test_a_step_is_running_no_more_often_than_the_ensemble_allows() -> None:
    config = ensemble(
        [step("many", {"IN": "A"}, {"OUT": "t"}), step("each", {"IN": "t"}, {"OUT": "Y"})],
        decoupled=True,
        most_in_flight=2,
    )
    models = Models()
    _, sender = Running(config, models, STREAMED).submit()
    many = models.waiting("many")
    for number in range(5):
        respond(many, final=number == 4, OUT=number)
    for done in range(5):
        asked = [one for one in models.asked if one.model_name == "each"]
        assert len(asked) == min(done + 2, 5)
        respond(asked[done], OUT=int(asked[done].inputs["IN"].array()[0]))
    assert [one["Y"] for one in sender.values] == [[0], [1], [2], [3], [4]]
    assert sender.finals == 1


def test_a_model_that_answers_twice_without_having_said_so_is_an_error() -> None:
    models = Models()
    _, sender = Running(CHAIN, models, [model(), model()]).submit()
    respond(models.waiting("one"), final=False, OUT=1)
    respond(models.waiting("one"), final=True, OUT=1)
    respond(models.waiting("two"), OUT=2)
    assert "step 0 ('one') has answered more than once" in sender.error
    assert sender.finals == 1


# ---- what a sequence is


def test_responses_say_of_the_sequence_what_the_real_server_says() -> None:
    running = Running(CHAIN, Models(one=increment, two=increment))
    _, sender = running.submit()
    assert sender.responses[0].parameters == {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    _, sender = running.submit(parameters={"sequence_id": "q", "sequence_start": True, "other": 3})
    assert sender.responses[0].parameters == {"sequence_id": "q", "sequence_start": True, "sequence_end": False}


def test_what_an_answer_says_of_its_sequence_holds_for_the_next_step() -> None:
    models = Models()
    _, sender = Running(CHAIN, models).submit(parameters={"sequence_id": 1, "sequence_start": True, "mine": 2})
    respond(models.waiting("one"), parameters={"sequence_id": 9, "sequence_end": True, "text": "x"}, OUT=1)
    assert models.waiting("two").parameters == {
        "sequence_id": 9,
        "sequence_start": True,
        "sequence_end": True,
        "mine": 2,
    }
    respond(models.waiting("two"), OUT=1)
    assert sender.responses[0].parameters == {"sequence_id": 1, "sequence_start": True, "sequence_end": False}


# ---- failures, cancellation, the end


def test_a_steps_error_is_the_ensembles_and_of_the_same_kind() -> None:
    for error in (InvalidArgumentError("no"), UnavailableError("no"), OverloadedError("no", 7)):
        models = Models(one=increment)
        running = Running(CHAIN, models)
        _, sender = running.submit()
        refuse(models.waiting("two"), error)
        assert sender.error == "in ensemble 'e', no"
        found = sender.responses[0].error
        assert type(found) is type(error)
        assert getattr(found, "retry_after_s", 0) == getattr(error, "retry_after_s", 0)
        assert str(error) == "no"
        assert running.statistics.snapshot().fail.count == 1
        assert running.statistics.snapshot().failures["OTHER"] == 1


def test_a_step_that_is_refused_at_once_ends_the_request() -> None:
    def refused(request: InferenceRequest) -> None:
        raise InvalidArgumentError("expected 2 inputs")

    for models in (Models(one=refused), Models(one=increment, two=refused)):
        running = Running(CHAIN, models)
        _, sender = running.submit()
        assert sender.error == "in ensemble 'e', expected 2 inputs"
        assert sender.finals == 1
        assert running.pool.in_flight() == 0


def test_what_nobody_expects_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: InferenceRequest) -> None:
        raise ZeroDivisionError("oh")

    _, sender = Running(CHAIN, Models(one=broken)).submit()
    assert sender.error == "in ensemble 'e', ZeroDivisionError: oh"
    assert "ensemble 'e' failed to run a request" in caplog.text


def test_outputs_that_cannot_be_made_end_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def outputs(self: EnsembleProgress) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(EnsembleProgress, "outputs", outputs)
    running = Running(CHAIN, Models(one=increment, two=increment))
    _, sender = running.submit()
    assert (sender.error, sender.finals) == ("in ensemble 'e', MemoryError: no room", 1)
    assert running.pool.in_flight() == 0


def test_when_one_branch_fails_the_others_are_cancelled_and_waited_for() -> None:
    models = Models()
    running = Running(BRANCHES, models)
    _, sender = running.submit()
    left, right = models.waiting("left"), models.waiting("right")
    refuse(left, InternalError("left is broken"))
    assert right.cancelled
    assert not sender.finals  # what the client has sent may still be read
    refuse(right, CancelledError("request was cancelled"))
    assert sender.error == "in ensemble 'e', left is broken"
    assert len(sender.responses) == 1
    assert models.names == ["left", "right"]


def test_branches_behind_a_refused_one_are_not_submitted() -> None:
    def refused(request: InferenceRequest) -> None:
        raise UnavailableError("not ready")

    models = Models(left=refused)
    _, sender = Running(BRANCHES, models).submit()
    assert models.names == ["left"]
    assert sender.error == "in ensemble 'e', not ready"


def test_cancelling_reaches_the_running_steps_at_once_and_starts_no_others() -> None:
    models = Models()
    running = Running(BRANCHES, models)
    request, sender = running.submit()
    respond(models.waiting("left"), OUT=1)
    heard: list[InferenceRequest] = []
    models.waiting("right").on_cancel = heard.append
    request.cancel()
    assert heard == [models.waiting("right")]
    respond(models.waiting("right"), OUT=2)
    assert models.names == ["left", "right"]
    assert isinstance(sender.responses[0].error, CancelledError)
    assert sender.finals == 1
    assert running.statistics.snapshot().failures["CANCELED"] == 1
    request.cancel()


def test_a_request_that_is_cancelled_before_it_is_submitted_runs_nothing() -> None:
    models = Models()
    _, sender = Running(CHAIN, models).submit(cancelled=True)
    assert not models.asked
    assert isinstance(sender.responses[0].error, CancelledError)


def test_a_client_that_cancels_while_it_hears_an_answer_is_heard() -> None:
    models = Models(each=increment)
    running = Running(STREAM, models, STREAMED)
    request, sender = running.submit()
    heard = sender.send

    def cancel_then(*answer: object) -> None:
        heard(*answer)  # type: ignore[arg-type]
        request.cancel()

    sender.send = cancel_then  # type: ignore[method-assign]
    many = models.waiting("many")
    respond(many, final=False, OUT=1)
    assert many.cancelled
    respond(many, final=False, OUT=2)
    finish(many)
    assert len(sender.responses) == 2
    assert isinstance(sender.responses[1].error, CancelledError)


def test_a_pool_that_does_not_accept_raises_and_counts_nothing() -> None:
    running = Running(CHAIN, Models())
    running.pool.refuse()
    with pytest.raises(UnavailableError, match="has stopped accepting new inference requests"):
        running.submit()
    assert running.pool.in_flight() == 0
    assert running.pool.drain(monotonic_ns())


def test_what_was_accepted_runs_on_after_refuse_and_drain_waits_for_it() -> None:
    models = Models()
    running = Running(CHAIN, models)
    _, sender = running.submit()
    running.pool.refuse()
    assert not running.pool.drain(monotonic_ns())
    respond(models.waiting("one"), OUT=1)
    respond(models.waiting("two"), OUT=2)
    assert running.pool.drain(monotonic_ns())
    assert sender.values == [{"Y": [2]}]


def test_stop_answers_what_is_in_flight_whatever_its_steps_do() -> None:
    def obedient(request: InferenceRequest) -> None:
        request.on_cancel = lambda one: refuse(one, CancelledError("cancelled"))

    models = Models(two=obedient)
    running = Running(CHAIN, models)
    _, first = running.submit()
    respond(models.waiting("one"), OUT=1)
    _, second = running.submit()
    assert running.stop()
    for sender in (first, second):
        assert sender.finals == 1
        assert isinstance(sender.responses[0].error, UnavailableError)
    respond(models.waiting("one"), OUT=1)  # too late: nobody hears it
    assert len(second.responses) == 1
    assert running.pool.in_flight() == 0
    assert running.pool.instances() == []
    assert running.pool.pending() == 0
    assert not running.pool.change_instances([], [])


def test_a_server_that_stops_before_the_first_step_is_submitted_ends_the_request_once() -> None:
    running = Running(CHAIN, models := Models())
    submit = running.pool.submit_step

    def stopping(request: InferenceRequest) -> None:
        thread = threading.Thread(target=running.stop)
        thread.start()
        thread.join(PATIENCE_S)
        submit(request)

    running.pool.submit_step = stopping
    _, sender = running.submit()
    assert isinstance(sender.responses[0].error, UnavailableError)
    assert (sender.finals, running.pool.in_flight()) == (1, 0)
    assert models.names == ["one"]


def test_what_comes_before_the_beginning_waits_for_it() -> None:
    running, sender = Running(CHAIN, models := Models()), Sender()
    request = InferenceRequest("e", {"A": tensor(1, "A")}, sender)
    run = EnsembleRun(running.pool, request)
    run.fail(UnavailableError("stopping"))
    assert not sender.finals
    request.move(QUEUED)
    request.move(EXECUTING)
    run.begin()
    assert models.waiting("one").cancelled
    refuse(models.waiting("one"), CancelledError("cancelled"))
    assert (sender.error, sender.finals) == ("stopping", 1)


# ---- statistics


def test_an_ensemble_counts_its_requests_and_sums_up_its_steps() -> None:
    def timed(request: InferenceRequest) -> None:
        stamps = request.timeline
        stamps.queue_start, stamps.compute_start, stamps.compute_input_end = 1, 10, 30
        stamps.compute_output_start, stamps.compute_end = 130, 135
        increment(request)

    running = Running(CHAIN, Models(one=timed, two=timed))
    whole, _ = running.submit(batch_size=2)
    found = running.statistics.snapshot()
    assert (found.inference_count, found.execution_count, found.success.count) == (2, 1, 1)
    assert (found.compute_input.ns, found.compute_infer.ns, found.compute_output.ns) == (40, 200, 10)
    assert found.queue.ns == whole.timeline.compute_start - whole.timeline.queue_start
    assert [one.batch_size for one in found.batch_stats] == [2]
    assert found.last_inference_ms
