"""atoll.testing.PythonModel with model directories on disk: what an author's test sees."""

from __future__ import annotations

import logging
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from atoll.errors import ConfigError, InternalError, InvalidArgumentError, NotFoundError
from atoll.testing import PythonModel, Request

CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""
DECOUPLED = CONFIG + "model_transaction_policy { decoupled: true }\n"
HEAD = """
import asyncio
import json
import numpy as np
import triton_python_backend_utils as pb_utils

def array(request):
    return pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()

def respond(value):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", np.asarray(value, np.float32))])

"""
ROW = {"INPUT": np.array([[1, 2]], np.float32)}

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a model directory whose `execute` has this body."""

    def write(
        body: str,
        *,
        name: str = "m",
        config: str = CONFIG,
        prefix: str = "",
        more: str = "",
        files: Mapping[str, str] | None = None,
    ) -> Path:
        folder = tmp_path / name
        lines = textwrap.indent(textwrap.dedent(body), "        ")
        code = f"{HEAD}\nclass TritonPythonModel:\n    {prefix}def execute(self, requests):\n{lines}\n{more}"
        for file, text in {"config.pbtxt": config, "1/model.py": code, **(files or {})}.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        return folder

    return write


def test_a_model_answers_with_arrays(make: Make) -> None:
    with PythonModel(make("return [respond(array(r) * 2) for r in requests]")) as model:
        answer = model.execute(ROW)
        assert answer["OUTPUT"].tolist() == [[2, 4]]
        assert model.execute({"INPUT": [[5, 6]]})["OUTPUT"].tolist() == [[10, 12]]
        with pytest.raises(KeyError, match=r"no output 'O' in this response: it has OUTPUT"):
            answer["O"]


def test_a_batch_is_one_call(make: Make) -> None:
    body = """
    if len(requests) != 3:
        raise ValueError(len(requests))
    return [respond(array(r)) if r.request_id() else pb_utils.InferenceResponse(
        error=pb_utils.TritonError("nameless", pb_utils.TritonError.NOT_FOUND)) for r in requests]
    """
    with PythonModel(make(body)) as model:
        first, second, third = model.execute_batch([Request(ROW, id="a"), ROW, Request(ROW, id="c")])
    assert first["OUTPUT"].tolist() == third["OUTPUT"].tolist() == [[1, 2]]
    assert isinstance(second.error, NotFoundError)
    with pytest.raises(NotFoundError, match="nameless"):
        second["OUTPUT"]


def test_the_model_sees_what_a_client_sends(make: Make) -> None:
    body = """
    r = requests[0]
    seen = [r.request_id(), r.correlation_id(), r.flags(), r.timeout(), json.loads(r.parameters()),
            sorted(r.requested_output_names()), r.is_cancelled()]
    return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", array(r))], parameters={"seen": json.dumps(seen)})]
    """
    with PythonModel(make(body)) as model:
        answer = model.execute(
            ROW, id="x", correlation_id=7, sequence_start=True, sequence_end=True, timeout_us=5, parameters={"a": 1}
        )
        assert answer.parameters["seen"] == '["x", 7, 3, 5, {"a": 1}, ["OUTPUT"], false]'
        (answer,) = model.execute_batch([Request(ROW, cancelled=True)])
        assert str(answer.parameters["seen"]).endswith("true]")


def test_what_the_model_does_to_its_input_is_not_seen_outside(make: Make) -> None:
    with PythonModel(make("a = array(requests[0])\na += 1\nreturn [respond(a)]")) as model:
        assert model.execute(ROW)["OUTPUT"].tolist() == [[2, 3]]
    assert ROW["INPUT"].tolist() == [[1, 2]]


def test_a_request_that_does_not_fit_is_refused_as_by_a_server(make: Make) -> None:
    with PythonModel(make("return [respond(array(r)) for r in requests]")) as model:
        with pytest.raises(InvalidArgumentError, match=r"unexpected shape for input 'INPUT' for model 'm'"):
            model.execute({"INPUT": np.zeros((1, 3), np.float32)})
        with pytest.raises(InvalidArgumentError, match="INT64"):
            model.execute({"INPUT": np.zeros((1, 2), np.int64)})
        with pytest.raises(InvalidArgumentError):
            model.execute({})


def test_an_output_that_the_configuration_has_otherwise_is_an_error(make: Make) -> None:
    body = "return [pb_utils.InferenceResponse([pb_utils.Tensor('OUTPUT', np.zeros((1, 2), np.int32))])]"
    with PythonModel(make(body)) as model, pytest.raises(InternalError, match="TYPE_INT32"):
        model.execute(ROW)


def test_an_exception_of_the_model_is_the_cause(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with PythonModel(make("return [][1]")) as model:
        with pytest.raises(InternalError, match=r"(?s)IndexError: list index out of range\n\nAt:\n.*execute") as raised:
            model.execute(ROW)
        assert isinstance(raised.value.__cause__, IndexError)
        (line,) = model.log
        assert (line.level, Path(line.file).name) == ("ERROR", "model.py")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_initialize_gets_what_a_server_gives(make: Make) -> None:
    more = "    def initialize(self, args):\n        self.args = args\n"
    folder = make("return [respond(array(r)) for r in requests]", more=more)
    changes = {"parameters": {"a": {"string_value": "b"}}}
    with PythonModel(folder, config=changes, instance_kind="GPU", instance_device_id=3) as model:
        args = model.instance.args
        assert {key: args[key] for key in args if key != "model_config"} == {
            "model_instance_kind": "GPU",
            "model_instance_name": "m_0_0",
            "model_instance_device_id": "3",
            "model_repository": str(folder),
            "model_version": "1",
            "model_name": "m",
        }
        assert '"parameters":{"a":{"string_value":"b"}}' in args["model_config"]


def test_auto_complete_config_completes(make: Make) -> None:
    more = """
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "INPUT", "data_type": "TYPE_FP32", "dims": [2]})
        config.add_output({"name": "OUTPUT", "data_type": "TYPE_FP32", "dims": [2]})
        config.set_max_batch_size(4)
        return config
    """
    with PythonModel(make("return [respond(array(r)) for r in requests]", config="", more=more)) as model:
        assert model.config["max_batch_size"] == 4
        assert model.execute(ROW)["OUTPUT"].tolist() == [[1, 2]]


# ---- decoupled models


def test_a_decoupled_model_streams(make: Make) -> None:
    body = """
    for request in requests:
        sender = request.get_response_sender()
        for number in range(3):
            sender.send(respond([[number, number]]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """
    with PythonModel(make(body, config=DECOUPLED)) as model:
        assert [answer["OUTPUT"].tolist() for answer in model.stream(ROW)] == [[[n, n]] for n in range(3)]
        with pytest.raises(InvalidArgumentError, match=r"sent 3 responses to one request: use stream\(\)"):
            model.execute(ROW)


def test_a_stream_can_be_cancelled(make: Make) -> None:
    body = """
    sender = requests[0].get_response_sender()
    while not sender.is_cancelled():
        sender.send(respond([[0, 0]]))
    sender.send(flags=1)
    """
    with PythonModel(make(body, config=DECOUPLED)) as model:
        stream = model.stream(ROW)
        next(stream)
        stream.cancel()
        assert all(answer["OUTPUT"].tolist() == [[0, 0]] for answer in stream)


def test_an_error_ends_a_stream(make: Make) -> None:
    body = "requests[0].get_response_sender().send(respond([[1, 1]]))\nraise ValueError('middle')"
    with PythonModel(make(body, config=DECOUPLED)) as model:
        stream = model.stream(ROW)
        assert next(stream)["OUTPUT"].tolist() == [[1, 1]]
        with pytest.raises(InternalError, match="ValueError: middle"):
            next(stream)


def test_a_model_that_forgets_the_final_response_is_told(make: Make) -> None:
    with (
        PythonModel(make("requests[0].get_response_sender()", config=DECOUPLED)) as model,
        pytest.raises(InternalError, match="without sending its final response"),
    ):
        list(model.stream(ROW))


def test_a_model_that_keeps_the_sender_for_ever_times_out(make: Make) -> None:
    folder = make("self.kept = requests[0].get_response_sender()")
    with PythonModel(folder, timeout_s=0.01) as model, pytest.raises(TimeoutError, match="no final response"):
        model.execute(ROW)


def test_what_is_given_back_is_executed_again(make: Make) -> None:
    body = """
    self.flags = [*getattr(self, "flags", []), requests[0].flags()]
    if len(self.flags) < 3:
        requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
        return [None]
    return [respond(array(requests[0]))]
    """
    with PythonModel(make(body)) as model:
        assert model.execute(ROW, sequence_start=True)["OUTPUT"].tolist() == [[1, 2]]
        assert model.instance.flags == [1, 0, 0]


def test_an_asynchronous_model_is_awaited(make: Make) -> None:
    body = "await asyncio.sleep(0)\nreturn [respond(array(r)) for r in requests]"
    with PythonModel(make(body, prefix="async ")) as model:
        assert model.execute(ROW)["OUTPUT"].tolist() == [[1, 2]]


# ---- spans


def test_the_spans_of_a_request_are_with_its_answer(make: Make) -> None:
    body = """
    for number, request in enumerate(requests):
        with request.trace().span("whole", {"number": number}), request.trace().span("part"):
            if request.request_id() == "bad":
                raise ValueError("no")
    return [respond(array(r)) for r in requests]
    """
    with PythonModel(make(body)) as model:
        first, second = model.execute_batch([ROW, Request(ROW)])
        assert [(one.name, one.parent) for one in second.spans] == [("whole", -1), ("part", 0)]
        assert [dict(one.spans[0].attributes) for one in (first, second)] == [{"number": 0}, {"number": 1}]
        assert all(one.start_ns <= one.end_ns and not one.error for one in first.spans)
        (failed,) = model.execute_batch([Request(ROW, id="bad")])
        assert isinstance(failed.error, InternalError)
        assert [one.error for one in failed.spans] == ["ValueError: no"] * 2
        assert model.execute(ROW).spans != first.spans


def test_the_spans_of_a_stream_are_there_at_its_end(make: Make) -> None:
    body = """
    sender = requests[0].get_response_sender()
    for number in range(2):
        with requests[0].trace().span("part"):
            sender.send(respond([[number, number]]))
    sender.send(flags=1)
    """
    with PythonModel(make(body, config=DECOUPLED)) as model:
        stream = model.stream(ROW)
        assert [answer.spans for answer in stream] == [(), ()]
        assert [one.name for one in stream.spans] == ["part", "part"]


def test_spans_of_executions_that_gave_the_request_back_are_kept(make: Make) -> None:
    body = """
    self.times = getattr(self, "times", 0) + 1
    with requests[0].trace().span("a"), requests[0].trace().span("b"):
        pass
    if self.times < 3:
        requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
        return [None]
    return [respond(array(requests[0]))]
    """
    with PythonModel(make(body)) as model:
        assert [(one.name, one.parent) for one in model.execute(ROW).spans] == [
            ("a", -1), ("b", 0), ("a", -1), ("b", 2), ("a", -1), ("b", 4)
        ]  # fmt: skip


def test_a_request_has_the_trace_context_that_it_was_given(make: Make) -> None:
    body = """
    context = requests[0].trace().get_context()
    return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", array(requests[0]))], parameters={"c": str(context)})]
    """
    with PythonModel(make(body)) as model:
        (answer,) = model.execute_batch([Request(ROW, trace_context='{"traceparent":"00-1"}')])
        assert answer.parameters["c"] == '{"traceparent":"00-1"}'
        assert model.execute(ROW).parameters["c"] == "None"


# ---- requests to other models

CALL = """
    request = pb_utils.InferenceRequest(
        model_name="other", requested_output_names=["OUTPUT"], inputs=[pb_utils.Tensor("INPUT", array(requests[0]))])
"""


def test_functions_answer_for_other_models(make: Make) -> None:
    body = CALL + "    return [respond(request.exec().output_tensors()[0].as_numpy())]"
    seen: list[Mapping[str, np.ndarray]] = []

    def other(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        seen.append(inputs)
        return {"OUTPUT": inputs["INPUT"] + 1, "UNWANTED": inputs["INPUT"]}

    with PythonModel(make(body), models={"other": other}) as model:
        assert model.execute(ROW)["OUTPUT"].tolist() == [[2, 3]]
    assert seen[0]["INPUT"].tolist() == [[1, 2]]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_other_directories_answer(asynchronous: bool, make: Make) -> None:
    run = "await request.async_exec()" if asynchronous else "request.exec()"
    body = CALL + f"    return [respond(({run}).output_tensors()[0].as_numpy())]"
    other = make("return [respond(array(r) * 3) for r in requests]", name="elsewhere")
    folder = make(body, prefix="async " if asynchronous else "")
    with PythonModel(folder, models={"other": other}) as model:
        assert model.execute(ROW)["OUTPUT"].tolist() == [[3, 6]]


def test_the_responses_of_a_decoupled_function_are_iterated(make: Make) -> None:
    body = (
        CALL
        + "    got = [r.output_tensors()[0].as_numpy() for r in request.exec(decoupled=True) if r.output_tensors()]\n"
    )
    body += "    return [respond(sum(got))]"

    def other(inputs: Mapping[str, np.ndarray]) -> Iterator[Mapping[str, np.ndarray]]:
        for _ in range(3):
            yield {"OUTPUT": inputs["INPUT"]}

    with PythonModel(make(body), models={"other": other}) as model:
        assert model.execute(ROW)["OUTPUT"].tolist() == [[3, 6]]


def test_what_other_models_fail_with_is_the_response_s_error(make: Make) -> None:
    body = CALL + "    return [pb_utils.InferenceResponse(error=request.exec().error())]"

    def other(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        raise ValueError("not today")

    with PythonModel(make(body), models={"other": other}) as model, pytest.raises(InternalError, match="not today"):
        model.execute(ROW)
    with PythonModel(make(body)) as model, pytest.raises(InternalError, match=r"Model 'other' is not ready"):
        model.execute(ROW)


def test_a_decoupled_model_is_called_as_one(make: Make) -> None:
    body = CALL + "    return [pb_utils.InferenceResponse(error=request.exec().error())]"
    other = make("requests[0].get_response_sender().send(flags=1)", name="other", config=DECOUPLED)
    with (
        PythonModel(make(body), models={"other": other}) as model,
        pytest.raises(InternalError, match="doesn't support models using the decoupled transaction policy"),
    ):
        model.execute(ROW)


# ---- log, metrics, modules


def test_log_and_metrics_can_be_looked_at(make: Make) -> None:
    body = """
    pb_utils.Logger.log_warn("careful")
    if not hasattr(self, "metric"):
        self.family = pb_utils.MetricFamily(name="seen", description="how many", kind=pb_utils.MetricFamily.COUNTER)
        self.metric = self.family.Metric(labels={"a": "b"})
    self.metric.increment(2)
    return [respond(array(requests[0]))]
    """
    with PythonModel(make(body)) as model:
        model.execute(ROW)
        assert [(line.level, line.message, Path(line.file).name) for line in model.log] == [
            ("WARNING", "careful", "model.py")
        ]
        assert 'seen{a="b"} 2' in model.metrics()


def test_two_models_modules_stay_apart_and_leave(make: Make) -> None:
    body = "import sibling\nfrom . import sibling as same\nreturn [respond([[sibling.VALUE, same.VALUE]])]"
    one = make(body, name="one", files={"1/sibling.py": "VALUE = 1\n"})
    two = make(body, name="two", files={"1/sibling.py": "VALUE = 2\n"})
    path, modules = list(sys.path), set(sys.modules)
    with PythonModel(one) as first, PythonModel(two) as second:
        assert second.execute(ROW)["OUTPUT"].tolist() == [[2, 2]]
        assert first.execute(ROW)["OUTPUT"].tolist() == [[1, 1]]
    assert sys.path == path
    assert not [name for name in set(sys.modules) - modules if "sibling" in name or "model" in name]
    assert not list(one.rglob("__pycache__"))


def test_finalize_is_called_once_and_threads_end(make: Make) -> None:
    calls: list[int] = []
    more = "    def finalize(self):\n        self.calls.append(1)\n"
    before = threading.active_count()
    with PythonModel(
        make("await asyncio.sleep(0)\nreturn [respond(array(requests[0]))]", prefix="async ", more=more)
    ) as model:
        model.execute(ROW)
        model.instance.calls = calls
    model.close()
    assert calls == [1]
    assert threading.active_count() == before


# ---- what is wrong with a directory


def test_a_wrong_configuration_is_told_as_by_the_server(make: Make) -> None:
    folder = make("pass", config='input [ { name: "INPUT" data_type: TYPE_FP33 dims: [ 2 ] } ]')
    with pytest.raises(ConfigError, match=r"config.pbtxt:1:\d+.*TYPE_FP33"):
        PythonModel(folder)


def test_a_directory_without_the_version(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no version 2: found 1, expected 1/model.py"):
        PythonModel(make("pass"), 2)
    with pytest.raises(ConfigError, match="there is no model directory"):
        PythonModel(tmp_path / "absent")


def test_a_model_that_cannot_be_initialized_says_where(make: Make) -> None:
    more = "    def initialize(self, args):\n        raise ValueError('no weights')\n"
    with pytest.raises(InternalError, match=r"ValueError: no weights\n\nAt:\n  .*/m/1/model.py\(\d+\): initialize"):
        PythonModel(make("pass", more=more))
