"""The rest of a model's life: its coroutines, how it starts, its readiness, how it ends."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from tests.unit.backends.python.recording import RecordingHost, Start, make_model, make_requests, run, write_model

from atoll.errors import InternalError

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
