"""Running batches: whose memory is whose, whose fault an error is, and how sessions are shared."""

import contextlib
import itertools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.backends.tensorflow.exported import save, tf
from tests.side_by_side import side_by_side

from atoll.backends.api import ModelSource, Placement
from atoll.backends.tensorflow import TensorFlowBackend
from atoll.backends.tensorflow.backend import TensorFlowModel
from atoll.config.autofill import fill
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.errors import AtollError, InternalError, InvalidArgumentError


def load(folder: Path, **parameters: str) -> TensorFlowModel:
    """The model.savedmodel in that folder, without a server."""
    texts = {key: ModelParameter(string_value=value) for key, value in parameters.items()}
    backend = TensorFlowBackend()
    return backend.load(source_of(backend, folder, ModelConfig(name="m", backend="tensorflow", parameters=texts)))


def source_of(backend: TensorFlowBackend, folder: Path, config: ModelConfig) -> ModelSource:
    """With a complete configuration."""
    source = ModelSource(name=config.name, version=1, model_directory=folder, version_directory=folder, config=config)
    return replace(source, config=fill(config, backend.signature(source), default_max_batch_size=0))


@pytest.fixture
def affine(tmp_path: Path) -> Path:
    specs = {"x": ("FP32", [None, None])}
    save(tmp_path / "model.savedmodel", lambda x: {"same": tf.identity(x), "more": x + 1, "first": x[:1]}, specs)
    return tmp_path


def aligned(array: Any) -> Any:
    """A read-only copy where TensorFlow reads it without copying it."""
    memory = np.zeros(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.setflags(write=False)
    return copy


def test_outputs_are_no_views_of_inputs_and_inputs_stay_as_they_are(affine: Path) -> None:
    model = load(affine)
    instance = model.instance(Placement("m_0"))
    before = np.arange(256, dtype=np.float32).reshape(8, 32)
    sent = aligned(before)
    answer = instance.execute({"x": sent}, ["same", "more", "first"])
    assert not any(np.may_share_memory(one, sent) for one in answer.values())
    np.testing.assert_array_equal(sent, before)
    np.testing.assert_array_equal(answer["same"], before)
    np.testing.assert_array_equal(answer["first"], before[:1])
    kept = answer["more"].copy()
    instance.execute({"x": aligned(before * 7)}, ["same", "more", "first"])
    np.testing.assert_array_equal(answer["more"], kept)
    instance.close()
    model.close()
    np.testing.assert_array_equal(answer["more"], kept)


def test_nobody_writes_to_a_models_own_memory(tmp_path: Path) -> None:
    """Constants and variables come out as they lie in the session."""
    module = tf.Module()
    module.variable = tf.Variable(tf.ones([64, 64]))
    module.run = tf.function(
        lambda start: {"part": module.variable[start:], "constant": tf.fill([64, 64], 3.0)},
        input_signature=[tf.TensorSpec([], tf.int32, "start")],
    )
    tf.saved_model.save(module, str(tmp_path / "model.savedmodel"), signatures=module.run)
    model = load(tmp_path)
    instance = model.instance(Placement("m_0"))
    for start in (0, 32):
        for name, array in instance.execute({"start": np.int32(start)}, ["part", "constant"]).items():
            assert (array == {"part": 1, "constant": 3}[name]).all()
            with contextlib.suppress(ValueError):
                array[...] = 99
    instance.close()
    model.close()


def test_any_number_of_wishes_is_answered(tmp_path: Path) -> None:
    names = "abcdef"
    save(tmp_path / "model.savedmodel", lambda x: {one: x + i for i, one in enumerate(names)}, {"x": ("FP32", [None])})
    model = load(tmp_path)
    instance = model.instance(Placement("m_0"))
    sent = np.zeros(1, np.float32)
    for size in range(1, 7):
        for wanted in itertools.permutations(names, size) if size < 3 else itertools.combinations(names, size):
            answer = instance.execute({"x": sent}, wanted)
            assert {one: answer[one].tolist() for one in wanted} == {one: [names.index(one)] for one in wanted}
    assert len(instance._session._callables) <= 16
    assert len(instance._runs) <= 32
    instance.close()
    model.close()


def test_instances_share_a_session_and_run_at_once(affine: Path) -> None:
    model = load(affine)
    instances = [model.instance(Placement(f"m_{i}")) for i in range(4)]
    assert len({id(one._session) for one in instances}) == 1

    def run(number: int) -> None:
        sent = np.full((4, 4), number, np.float32)
        for _ in range(50):
            answer = instances[number].execute({"x": sent}, ["more"])["more"]
            np.testing.assert_array_equal(answer, sent + 1)

    side_by_side(4, run)
    for instance in instances:
        instance.close()
    model.close()


def test_as_many_instances_share_a_session_as_the_parameter_says(affine: Path) -> None:
    model = load(affine, MAX_SESSION_SHARE_COUNT="2")
    instances = [model.instance(Placement(f"m_{i}")) for i in range(5)]
    assert len({id(one._session) for one in instances}) == 3
    for instance in instances:
        assert instance.execute({"x": np.ones((1, 1), np.float32)}, ["more"])["more"].tolist() == [[2]]
        instance.close()
    model.close()


@pytest.mark.parametrize(
    "parameters",
    [
        {"jit_compile": "true"},
        {"TF_NUM_INTER_THREADS": "2", "TF_USE_PER_SESSION_THREADS": "1"},
        {"TF_NUM_INTRA_THREADS": "2", "TF_NUM_INTER_THREADS": "1"},
    ],
)
def test_every_way_of_running_gives_the_same(affine: Path, parameters: dict[str, str]) -> None:
    model = load(affine, **parameters)
    instance = model.instance(Placement("m_0"))
    sent = np.arange(6, dtype=np.float32).reshape(2, 3)
    answer = instance.execute({"x": sent}, ["more", "same"])
    np.testing.assert_array_equal(answer["more"], sent + 1)
    np.testing.assert_array_equal(answer["same"], sent)
    instance.close()
    model.close()


def test_a_function_is_compiled_where_the_parameter_says_so(affine: Path) -> None:
    """The nodes that are so marked are what XLA compiles whole."""
    plain, compiled = load(affine), load(affine, jit_compile="true")

    def marked(model: TensorFlowModel) -> bool:
        return any("_XlaMustCompile" in one.attr for one in model._graph.definition.node)

    assert not marked(plain)
    assert marked(compiled)
    plain.close()
    compiled.close()


def test_models_that_disagree_about_the_pool_are_told(affine: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = TensorFlowBackend()
    for number in (2, 3):
        config = ModelConfig(
            name=f"m{number}",
            backend="tensorflow",
            parameters={"TF_NUM_INTRA_THREADS": ModelParameter(string_value=str(number))},
        )
        with caplog.at_level(logging.WARNING):
            backend.load(source_of(backend, affine, config)).close()
        assert ("'TF_NUM_INTRA_THREADS' of model 'm3' is 3" in caplog.text) == (number == 3)


def test_a_graph_that_waits_is_not_bounded(tmp_path: Path, affine: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        queue = tf.queue.FIFOQueue(4, [tf.float32], [[2]])
        x = tf.compat.v1.placeholder(tf.float32, [2])
        with tf.control_dependencies([queue.enqueue(x)]):
            y = queue.dequeue()
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "q" / "model.savedmodel"), {"x": x}, {"y": y})
    waiting, plain = load(tmp_path / "q"), load(affine)
    assert not waiting.bounded
    assert plain.bounded
    waiting.close()
    plain.close()


def test_a_wrong_value_fails_its_own_request_only(served: Any) -> None:
    folder = served.folder("max_batch_size: 8 dynamic_batching {max_queue_delay_microseconds: 200000}")
    save(folder / "model.savedmodel", lambda s: {"n": tf.strings.to_number(s)}, {"s": ("BYTES", [None, 1])})
    served.load()
    words = (b"1.5", b"\xff\xfe", b"2.5")
    answers: dict[bytes, Any] = {}

    def ask(number: int) -> None:
        word = words[number]
        try:
            answers[word] = served.infer(s=np.array([[word]], np.object_))["n"].tolist()
        except AtollError as error:
            answers[word] = error

    side_by_side(len(words), ask)
    assert answers[b"1.5"] == [[1.5]]
    assert answers[b"2.5"] == [[2.5]]
    wrong = answers[b"\xff\xfe"]
    assert isinstance(wrong, InvalidArgumentError)
    assert "StringToNumberOp could not correctly convert string" in str(wrong)
    assert len(str(wrong)) < 2000


def test_what_a_model_that_remembers_raises_is_not_run_again(tmp_path: Path) -> None:
    module = tf.Module()
    module.count = tf.Variable(0, dtype=tf.int32)

    def run(x: Any) -> Any:
        with tf.control_dependencies([module.count.assign_add(1)]):
            return {"y": tf.gather(tf.constant([10, 20]), x), "count": module.count.read_value()}

    module.run = tf.function(run, input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    tf.saved_model.save(module, str(tmp_path / "model.savedmodel"), signatures=module.run)
    model = load(tmp_path)
    instance = model.instance(Placement("m_0"))
    assert instance.execute({"x": np.int32([1])}, ["y", "count"])["y"].tolist() == [20]
    with pytest.raises(InternalError, match="InvalidArgumentError: indices"):
        instance.execute({"x": np.int32([9])}, ["y", "count"])
    count = instance.execute({"x": np.int32([0])}, ["count"])["count"]
    assert count.tolist() == 3
    instance.close()
    model.close()


def test_an_output_of_another_shape_than_configured_is_told(served: Any) -> None:
    tensors = 'input {name: "x" data_type: TYPE_FP32 dims: 2} output {name: "y" data_type: TYPE_FP32 dims: 2}'
    folder = served.folder(f"max_batch_size: 4 {tensors}") / "model.savedmodel"
    module = tf.Module()
    module.run = tf.function(
        lambda x: {"y": tf.raw_ops.PlaceholderWithDefault(input=tf.concat([x, x], 1), shape=None)},
        input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")],
    )
    tf.saved_model.save(module, str(folder), signatures=module.run)
    served.load()
    with pytest.raises(AtollError, match=r"'y' of model 'm': the model returned \[4\], the configuration says \[2\]"):
        served.infer(x=np.float32([[1, 2]]))
    assert served.server.model_ready("m")
