"""The runner with real model.py files: what a model returns, sends or raises, and what each request gets for it."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import pytest
from tests.unit.backends.python.recording import RecordingHost, Start, make_model, make_requests, run, write_model

from atoll.backends.python.runner import PythonModel
from atoll.backends.python.utils import TritonError


def execute_line(model: PythonModel) -> int:
    lines = model.file.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if "def execute" in line)


# ---- returning responses


def test_each_request_gets_its_response(start: Start, host: RecordingHost) -> None:
    deliveries = run(start("return [answer(request) for request in requests]"), host, 3)
    assert [one.output for one in deliveries] == [[0, 2], [2, 4], [4, 6]]
    assert [one.finals for one in deliveries] == [1, 1, 1]


def test_outputs_that_nobody_wants_are_left_out(start: Start, host: RecordingHost) -> None:
    model = start(
        "t = pb_utils.get_input_tensor_by_name(requests[0], 'INPUT').as_numpy()\n"
        "return [pb_utils.InferenceResponse([pb_utils.Tensor('A', t), pb_utils.Tensor('B', t)])]"
    )
    requests, (delivery,) = make_requests(host, names=["B"])
    model.execute(requests)
    assert [tensor.name() for tensor in delivery.responses[0].output_tensors()] == ["B"]


def test_one_response_object_may_answer_several(start: Start, host: RecordingHost) -> None:
    deliveries = run(start("one = answer(requests[0])\nreturn [one for _ in requests]"), host, 2)
    assert [one.output for one in deliveries] == [[0, 2], [0, 2]]


def test_a_model_may_empty_the_list_of_requests(start: Start, host: RecordingHost) -> None:
    body = "found = []\nwhile requests: found.append(answer(requests.pop(0)))\nreturn found"
    assert [one.output for one in run(start(body), host, 2)] == [[0, 2], [2, 4]]


def test_a_subclass_of_list_and_of_response_is_one(start: Start, host: RecordingHost) -> None:
    body = (
        "class Responses(list): pass\nclass Response(pb_utils.InferenceResponse): pass\n"
        "return Responses(Response(answer(r).output_tensors()) for r in requests)"
    )
    assert run(start(body), host)[0].output == [0, 2]


def test_an_error_response_keeps_its_code(start: Start, host: RecordingHost) -> None:
    body = "return [pb_utils.InferenceResponse(error=pb_utils.TritonError('no such', pb_utils.TritonError.NOT_FOUND))]"
    (delivery,) = run(start(body), host)
    error = delivery.responses[0].error()
    assert error is not None
    assert (error.message(), error.code()) == ("no such", TritonError.NOT_FOUND)


# The texts before "At:" are the real server's.
WRONG = {
    "5": "Expected a list in the execute return, found type '<class 'int'>'.",
    "tuple(answer(r) for r in requests)": "Expected a list in the execute return, found type '<class 'tuple'>'.",
    "[]": "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
    "InferenceRequest(s) size is:2, and InferenceResponse(s) size is:0",
    "[None] * 3": "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
    "InferenceRequest(s) size is:2, and InferenceResponse(s) size is:3",
    "[answer(requests[0]), 'x']": "Expected an 'InferenceResponse' object in the execute function return list, found "
    "type '<class 'str'>'.",
    "[requests[1].set_release_flags(2) or answer(r) for r in requests]": "Expected a None object in the execute "
    "function return list for reschduled request, found type "
    "'<class 'triton_python_backend_utils.InferenceResponse'>'.",
}


@pytest.mark.parametrize("returned", WRONG)
def test_what_must_not_be_returned_fails_the_whole_batch(returned: str, start: Start, host: RecordingHost) -> None:
    model = start(f"return {returned}")
    for delivery in run(model, host, 2):
        assert delivery.error == (
            f"Failed to process the request(s) for model 'm_0_0', message: {WRONG[returned]}\n\nAt:\n"
            f"  {model.file}({execute_line(model)}): execute\n"
        )
        assert delivery.finals == 1
    assert [(level, file, line) for level, _, file, line in host.lines] == [
        ("ERROR", str(model.file), execute_line(model))
    ]


def test_a_decoupled_model_must_return_none(start: Start, host: RecordingHost) -> None:
    for returned in ("[answer(r) for r in requests]", "[]"):
        (delivery,) = run(start(f"return {returned}", decoupled=True), host)
        assert delivery.error
        assert (
            "Python model 'm_0_0' is using the decoupled mode and the execute function must return None."
            in delivery.error
        )


# ---- raising


def test_an_exception_is_the_error_of_every_request(start: Start, host: RecordingHost) -> None:
    model = start("self.deep()", more="    def deep(self):\n        raise KeyError('in execute')\n")
    lines = model.file.read_text().splitlines()
    called, raised = (next(n for n, text in enumerate(lines, 1) if what in text) for what in ("self.deep()", "raise"))
    for delivery in run(model, host, 2):
        assert delivery.error == (
            "Failed to process the request(s) for model 'm_0_0', message: KeyError: 'in execute'\n\nAt:\n"
            f"  {model.file}({raised}): deep\n  {model.file}({called}): execute\n"
        )
    ((level, message, file, line),) = host.lines
    assert (level, file, line) == ("ERROR", str(model.file), raised)
    assert message.startswith("Failed to process the request(s) for model 'm_0_0', message:\nTraceback")
    assert "runner.py" not in message


@pytest.mark.parametrize("what", ["SystemExit(3)", "KeyboardInterrupt()", "pb_utils.TritonModelException('x')"])
def test_no_exception_escapes(what: str, start: Start, host: RecordingHost) -> None:
    (delivery,) = run(start(f"raise {what}"), host)
    assert delivery.error
    assert what.split("(")[0].removeprefix("pb_utils.") in delivery.error


def test_a_wrong_signature_names_the_function(start: Start, host: RecordingHost) -> None:
    model = start("pass", more="    def execute(self): pass\n")
    (delivery,) = run(model, host)
    assert delivery.error
    assert re.search(
        r"takes 1 positional argument but 2 were given\n\nAt:\n  .*model\.py\(\d+\): execute", delivery.error
    )


def test_a_model_without_execute_is_loaded_and_every_request_fails(tmp_path: Path, host: RecordingHost) -> None:
    model = make_model(write_model(tmp_path, "class TritonPythonModel: pass"), host)
    model.initialize()
    assert [line[0] for line in host.lines] == ["WARNING"]
    (delivery,) = run(model, host)
    assert delivery.error == (
        f"Failed to process the request(s) for model 'm_0_0', message: Python model {model.file} does not implement "
        "`execute` method."
    )


def test_an_exception_after_the_final_response_takes_nothing_back(start: Start, host: RecordingHost) -> None:
    model = start("requests[0].get_response_sender().send(answer(requests[0]), flags=1)\nraise ValueError('late')")
    first, second = run(model, host, 2)
    assert first.output == [0, 2]
    assert second.error
    assert "ValueError: late" in second.error


def test_an_exception_closes_senders_that_the_model_has_kept(start: Start, host: RecordingHost) -> None:
    model = start("self.kept = requests[0].get_response_sender()\nraise ValueError('now')", decoupled=True)
    (delivery,) = run(model, host)
    assert delivery.error
    with pytest.raises(Exception, match=r"Unable to send response. Response sender has been closed."):
        model._model.kept.send(flags=1)
    assert delivery.finals == 1


# ---- senders


def test_a_decoupled_model_sends_any_number(start: Start, host: RecordingHost) -> None:
    model = start(
        "for request in requests:\n    sender = request.get_response_sender()\n"
        "    for _ in range(3): sender.send(answer(request))\n    sender.send(flags=1)",
        decoupled=True,
    )
    for delivery in run(model, host, 2):
        assert (len(delivery.responses), delivery.error, delivery.finals) == (3, None, 1)


def test_a_model_that_is_not_decoupled_may_send_instead_of_returning(start: Start, host: RecordingHost) -> None:
    for returned in ("None", "[None]"):
        body = f"requests[0].get_response_sender().send(answer(requests[0]), flags=1)\nreturn {returned}"
        (delivery,) = run(start(body), host)
        assert (delivery.output, delivery.finals) == ([0, 2], 1)


def test_a_sender_in_a_thread_answers_after_execute(start: Start, host: RecordingHost) -> None:
    model = start(
        "pair = requests[0].get_response_sender(), answer(requests[0])\n"
        "def later():\n    self.go.wait(30)\n    pair[0].send(pair[1], flags=1)\n"
        "self.go = threading.Event()\nthreading.Thread(target=later).start()"
    )
    (delivery,) = run(model, host)
    assert not delivery.responses
    model._model.go.set()
    assert delivery.ended.wait(30)
    assert delivery.output == [0, 2]


@pytest.mark.parametrize("flags", [0, 1])
def test_returning_what_was_sent_already_is_an_error_in_the_log(flags: int, start: Start, host: RecordingHost) -> None:
    model = start(
        f"requests[0].get_response_sender().send(answer(requests[0]), flags={flags})\n"
        "return [answer(request) for request in requests]"
    )
    first, second = run(model, host, 2)
    assert (first.output, second.output) == ([0, 2], [2, 4])
    ((level, message, _, line),) = host.lines
    assert (level, line) == ("ERROR", execute_line(model))
    assert "Unable to send response. Non-decoupled model cannot send more than one response." in message


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("body", ["pass", "for request in requests: request.get_response_sender()"])
def test_a_request_that_nobody_can_answer_any_more_ends(
    body: str, decoupled: bool, start: Start, host: RecordingHost
) -> None:
    model = start(body, decoupled=decoupled)
    (delivery,) = run(model, host)
    gc.collect()
    assert delivery.ended.wait(30)
    assert delivery.finals == 1
    assert delivery.error
    expected = "without sending its final response" if decoupled else "without a response: execute returned None for it"
    assert expected in delivery.error
    ((level, logged, _, line),) = host.lines
    assert (level, logged, line) == ("ERROR", delivery.error, execute_line(model))
    assert f"\n\nAt:\n  {model.file}({line}): execute\n" in logged


def test_a_response_without_the_end_is_enough_where_only_one_may_come(start: Start, host: RecordingHost) -> None:
    (delivery,) = run(start("requests[0].get_response_sender().send(answer(requests[0]))"), host)
    gc.collect()
    assert delivery.ended.wait(30)
    assert (delivery.output, delivery.finals) == ([0, 2], 1)


# ---- giving requests back


def test_a_request_may_be_given_back(start: Start, host: RecordingHost) -> None:
    body = "requests[1].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)\nreturn "
    for returned in ("[answer(requests[0]), None]", "[answer(requests[0]), None]"):
        answered, back = run(start(body + returned), host, 2)
        assert (answered.output, answered.rescheduled) == ([0, 2], 0)
        assert (back.responses, back.finals, back.rescheduled) == ([], 0, 1)


def test_a_decoupled_model_gives_back_after_some_responses(start: Start, host: RecordingHost) -> None:
    model = start(
        "requests[0].get_response_sender().send(answer(requests[0]))\nrequests[0].set_release_flags(2)",
        decoupled=True,
    )
    (delivery,) = run(model, host)
    gc.collect()
    assert (len(delivery.responses), delivery.finals, delivery.rescheduled) == (1, 0, 1)


def test_what_has_ended_is_not_given_back(start: Start, host: RecordingHost) -> None:
    """The real server ends here, by a segmentation fault."""
    model = start(
        "requests[0].get_response_sender().send(answer(requests[0]), flags=1)\nrequests[0].set_release_flags(2)\n"
        "return [None]"
    )
    (delivery,) = run(model, host)
    assert (delivery.output, delivery.rescheduled) == ([0, 2], 0)
    assert "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE" in host.lines[0][1]


def test_raising_outweighs_giving_back(start: Start, host: RecordingHost) -> None:
    (delivery,) = run(start("requests[0].set_release_flags(2)\nraise ValueError('x')"), host)
    assert delivery.error
    assert delivery.rescheduled == 0
