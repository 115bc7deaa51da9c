"""The runner with real model.py files: what a model returns, sends or raises, and what each request gets for it."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.backends.python.recording import (
    OK,
    RecordingDelivery,
    RecordingHost,
    make_model,
    make_requests,
    write_model,
)

from atoll.backends.python.runner import PythonModel
from atoll.backends.python.utils import TritonError
from atoll.errors import InternalError

Start = Callable[..., PythonModel]


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


@pytest.fixture
def start(tmp_path: Path, host: RecordingHost) -> Iterator[Start]:
    """Initializes a model whose `execute` has this body; finalized at the end."""
    started: list[PythonModel] = []

    def begin(body: str, *, decoupled: bool = False, prefix: str = "", more: str = "") -> PythonModel:
        lines = "".join(f"        {line}\n" for line in body.splitlines())
        code = f"{OK}\nclass TritonPythonModel:\n    {prefix}def execute(self, requests):\n{lines}\n{more}"
        model = make_model(write_model(tmp_path / "m", code), host, decoupled=decoupled)
        model.initialize()
        started.append(model)
        return model

    yield begin
    for model in started:
        model.finalize()


def run(model: PythonModel, host: RecordingHost, count: int = 1) -> list[RecordingDelivery]:
    """Execute one batch; the requests are gone afterwards, as in a server."""
    requests, deliveries = make_requests(host, count, decoupled=model.decoupled)
    model.execute(requests)
    return deliveries


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
    (delivery,) = run(start(body, decoupled=decoupled), host)
    gc.collect()
    assert delivery.ended.wait(30)
    assert delivery.finals == 1
    assert delivery.error
    assert "without sending its final response" in delivery.error


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


# ---- coroutines


async def test_batches_of_an_asynchronous_model_overlap(start: Start, host: RecordingHost) -> None:
    model = start(
        "self.inside = getattr(self, 'inside', 0) + 1\n"
        "while self.inside < 3: await asyncio.sleep(0)\n"  # returns only when three are in here at once
        "return [answer(request) for request in requests]",
        prefix="async ",
    )
    assert model.asynchronous
    batches = [make_requests(host, 2) for _ in range(3)]
    await asyncio.gather(*(model.execute_async(requests) for requests, _ in batches))
    assert [one.output for _, deliveries in batches for one in deliveries] == [[0, 2], [2, 4]] * 3


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("kept", [False, True])
async def test_what_a_coroutine_raises_reaches_every_client(
    kept: bool, decoupled: bool, start: Start, host: RecordingHost
) -> None:
    keep = "self.kept = [request.get_response_sender() for request in requests]\n" if kept else ""
    model = start(f"{keep}await asyncio.sleep(0)\nraise ValueError('async')", prefix="async ", decoupled=decoupled)
    requests, deliveries = make_requests(host, 2, decoupled=decoupled)
    await model.execute_async(requests)
    for delivery in deliveries:
        assert delivery.error
        assert re.search(r"ValueError: async\n\nAt:\n  .*/m/1/model.py\(\d+\): execute\n$", delivery.error)


async def test_a_decoupled_coroutine_must_return_none(start: Start, host: RecordingHost) -> None:
    model = start("return [answer(request) for request in requests]", prefix="async ", decoupled=True)
    requests, (delivery,) = make_requests(host, decoupled=True)
    await model.execute_async(requests)
    assert delivery.error
    assert "must return None" in delivery.error


async def test_a_cancelled_coroutine_ends_its_requests(start: Start, host: RecordingHost) -> None:
    model = start("await asyncio.Event().wait()", prefix="async ")
    requests, (delivery,) = make_requests(host)
    task = asyncio.create_task(model.execute_async(requests))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert delivery.error
    assert "CancelledError" in delivery.error


def test_a_coroutine_is_waited_for_where_no_loop_runs(start: Start, host: RecordingHost) -> None:
    model = start("await asyncio.sleep(0)\nreturn [answer(request) for request in requests]", prefix="async ")
    assert run(model, host)[0].output == [0, 2]
    loops = "self.loops = [*getattr(self, 'loops', []), asyncio.get_running_loop()]\nreturn [answer(requests[0])]"
    model = start(loops, prefix="async ")
    run(model, host)
    run(model, host)
    assert model._model.loops[0] is model._model.loops[1], "what a model keeps belongs to one loop"


def test_a_function_that_gives_a_coroutine_is_waited_for(start: Start, host: RecordingHost) -> None:
    model = start("return self.later(requests)", more="    async def later(self, rs): return [answer(r) for r in rs]\n")
    assert not model.asynchronous
    assert run(model, host)[0].output == [0, 2]


# ---- the rest of a life


def test_initialize_gets_the_arguments(tmp_path: Path, host: RecordingHost) -> None:
    code = (
        "class TritonPythonModel:\n    def initialize(self, args): self.args = args\n    def execute(self, r): pass\n"
    )
    args = {"model_name": "m", "model_config": json.dumps({"name": "m"})}
    model = make_model(write_model(tmp_path, code), host, args=args)
    model.initialize()
    assert model._model.args == args


def test_methods_know_their_directory(start: Start, host: RecordingHost) -> None:
    model = start("self.seen = pb_utils.get_model_dir()\nreturn [answer(r) for r in requests]")
    run(model, host)
    assert model._model.seen == str(model.file.parent)


START_FAILURES = {  # model.py: the message, then the lines after "At:", where F is the file
    "class TritonPythonModel:\n  def x(:\n    pass\n": (
        "SyntaxError: invalid syntax (model.py, line 2)",
        "F(2): <module>",
    ),
    "import absent_one\n": ("ModuleNotFoundError: No module named 'absent_one'", "F(1): <module>"),
    "def f():\n    raise ValueError('x')\nf()\n": ("ValueError: x", "F(2): f", "F(3): <module>"),
    "x = 1\n": ("AttributeError: module 'M' has no attribute 'TritonPythonModel'", "F(1): <module>"),
    "TritonPythonModel = 5\n": ("TypeError: 'int' object is not callable", "F(1): <module>"),
    "class TritonPythonModel:\n  def __init__(self, a): pass\n": (
        "TypeError: TritonPythonModel.__init__() missing 1 required positional argument: 'a'",
        "F(2): __init__",
    ),
    "class TritonPythonModel:\n  def __init__(self): 1/0\n": ("ZeroDivisionError: division by zero", "F(2): __init__"),
    "class TritonPythonModel:\n  def initialize(self): pass\n": (
        "TypeError: TritonPythonModel.initialize() takes 1 positional argument but 2 were given",
        "F(2): initialize",
    ),
    "import sys\nclass TritonPythonModel:\n  def initialize(self, args): sys.exit(3)\n": (
        "SystemExit: 3",
        "F(3): initialize",
    ),
    "class TritonPythonModel:\n  async def initialize(self, args): raise ValueError\n": (
        "ValueError: <EMPTY MESSAGE>",
        "F(2): initialize",
    ),
}


@pytest.mark.parametrize("code", START_FAILURES)
def test_a_model_that_cannot_start_says_what_and_where(code: str, tmp_path: Path, host: RecordingHost) -> None:
    model = make_model(write_model(tmp_path, code), host)
    with pytest.raises(InternalError) as raised:
        model.initialize()
    message, *places = START_FAILURES[code]
    text = re.sub(r"'atoll_model_\w+\.model'", "'M'", str(raised.value)).replace(str(model.file), "F")
    assert text == message + "\n\nAt:\n" + "".join(f"  {place}\n" for place in places)
    ((level, logged, file, _),) = host.lines
    assert (level, file) == ("ERROR", str(model.file))
    assert logged.startswith("m_0_0: cannot initialize the model\n")


def test_a_file_that_is_missing_or_no_python(tmp_path: Path, host: RecordingHost) -> None:
    with pytest.raises(InternalError, match=r"Python model file not found in '.*/1/model.py'"):
        make_model(tmp_path / "1" / "model.py", host).initialize()
    with pytest.raises(InternalError, match=r"""^Model name must end with '.py'. Model name is "model.txt".$"""):
        make_model(tmp_path / "1" / "model.txt", host).initialize()


def test_finalize_never_raises(start: Start, host: RecordingHost) -> None:
    for more in (
        "    def finalize(self): raise ValueError('at the end')\n",
        "    async def finalize(self): raise SystemExit\n",
    ):
        model = start("pass", more=more)
        model.finalize()
        model.finalize()  # what is over is over
    assert [message.splitlines()[0] for _, message, _, _ in host.lines] == ["m_0_0: finalize failed"] * 2


@pytest.mark.parametrize(
    ("method", "ready"),
    [
        ("", True),
        ("    def is_ready(self): return True\n", True),
        ("    def is_ready(self): return False\n", False),
        ("    async def is_ready(self): return False\n", False),
        ("    def is_ready(self): return 'yes'\n", False),
        ("    def is_ready(self): raise ValueError\n", False),
    ],
)
async def test_readiness_is_what_the_model_says(method: str, ready: bool, start: Start, host: RecordingHost) -> None:
    model = start("pass", more=method)
    assert model.is_ready() is ready
    assert await model.is_ready_async() is ready
    assert len(host.lines) == (2 if "yes" in method or "raise" in method else 0)
    model.finalize()
    assert not model.is_ready()
