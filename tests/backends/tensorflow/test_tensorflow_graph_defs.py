"""Frozen graphs: their inputs and outputs go by the names of operations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.backends.config_text import tensor_text
from tests.backends.tensorflow.exported import freeze, tf

from atoll.errors import ConfigError

tf1 = tf.compat.v1


def build() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    keep = tf1.placeholder_with_default(tf.constant(1.0), [], name="keep")
    hidden = tf.multiply(x, 2.0 * keep, name="hidden")
    tf.add(hidden, 1.0, name="y")
    tf.split(hidden, 2, axis=1, name="halves")
    unused = tf1.placeholder(tf.float32, [None, 2], name="training_only")
    tf.multiply(unused, hidden, name="loss")


def tensor(kind: str, name: str, dims: str = "2") -> str:
    return tensor_text(kind, name, dims=f"[{dims}]")


def test_operations_are_inputs_and_outputs(served: Any) -> None:
    folder = served.folder("max_batch_size: 4\n" + tensor("input", "x") + tensor("output", "y"))
    freeze(folder / "model.graphdef", build)
    served.load()
    assert served.infer(x=np.float32([[1, 2]]))["y"].tolist() == [[3, 5]]


def test_the_platform_names_the_file(served: Any) -> None:
    folder = served.folder("max_batch_size: 4\n" + tensor("output", "y"))
    config = folder.parent / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "tensorflow"', 'platform: "tensorflow_graphdef"'))
    freeze(folder / "model.graphdef", build)
    served.load()
    assert served.infer(x=np.float32([[1, 2]]))["y"].tolist() == [[3, 5]]


def test_any_tensor_between_them_may_be_named(served: Any) -> None:
    folder = served.folder(
        "max_batch_size: 4\n" + tensor("input", "hidden") + tensor("output", "y") + tensor("output", "halves:1", "1")
    )
    freeze(folder / "model.graphdef", build)
    served.load()
    answer = served.infer(hidden=np.float32([[1, 2]]))
    assert answer["y"].tolist() == [[2, 3]]
    assert answer["halves:1"].tolist() == [[2]]


def test_what_the_configuration_leaves_out_is_filled_in(served: Any) -> None:
    def plain() -> None:
        x = tf1.placeholder(tf.int32, [None, 2], name="x")
        tf.add(x, 1, name="more")
        tf.reduce_sum(x, 1, keepdims=True, name="sum")

    freeze(served.folder() / "model.graphdef", plain)
    config = served.load()
    assert [one.name for one in config.input] == ["x"]
    assert [one.name for one in config.output] == ["more", "sum"]
    assert config.output[0].data_type.name == "INT32"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (tensor("output", "z"), "unexpected inference output 'z', allowed outputs are: y, halves, loss"),
        (tensor("input", "z") + tensor("output", "y"), "unexpected inference input 'z', allowed inputs are: x"),
        (tensor("input", "x", "3") + tensor("output", "y"), "the model expects 2 dimensions (shape [-1,2])"),
        (tensor("output", "halves:7"), "unexpected inference output 'halves:7'"),
        (tensor("input", "x") + tensor("output", "loss"), "configuration expects 1 inputs, model provides"),
    ],
)
def test_a_configuration_that_disagrees_is_refused(served: Any, config: str, words: str) -> None:
    freeze(served.folder(f"max_batch_size: 4\n{config}") / "model.graphdef", build)
    with pytest.raises(ConfigError) as refusal:
        served.load()
    assert words in str(refusal.value)


def with_variable() -> None:
    x = tf1.placeholder(tf.float32, [2], name="x")
    factor = tf1.get_variable("factor", initializer=tf.constant(5.0), use_resource=False)
    tf.multiply(x, factor, name="y")
    tf1.variables_initializer([factor], name="start")


@pytest.mark.parametrize("place", ["version", "model"])
def test_operations_of_a_file_are_run_first(served: Any, parameter: Any, place: str) -> None:
    folder = served.folder(tensor("output", "y") + parameter("TF_INIT_OPS_FILE", "init.json"))
    freeze(folder / "model.graphdef", with_variable)
    ((folder if place == "version" else folder.parent) / "init.json").write_text('{"init_ops": ["start"]}')
    served.load()
    assert served.infer(x=np.float32([1, 2]))["y"].tolist() == [5, 10]


def test_one_that_is_not_in_the_graph_is_refused(served: Any, parameter: Any) -> None:
    folder = served.folder(tensor("output", "y") + parameter("TF_INIT_OPS_FILE", "init.json"))
    freeze(folder / "model.graphdef", with_variable)
    (folder / "init.json").write_text('{"init_ops": ["begin"]}')
    with pytest.raises(ConfigError, match="names the operation 'begin', which is not in the graph"):
        served.load()


def test_a_graph_that_is_not_frozen_is_refused(served: Any) -> None:
    freeze(served.folder(tensor("output", "y")) / "model.graphdef", with_variable)
    with pytest.raises(ConfigError, match=r"variable.*TF_INIT_OPS_FILE"):
        served.load()


def test_parameters_of_saved_models_are_refused(served: Any, parameter: Any) -> None:
    freeze(served.folder(parameter("TF_SIGNATURE_DEF", "s")) / "model.graphdef", build)
    with pytest.raises(
        ConfigError, match=r"'TF_SIGNATURE_DEF' is for SavedModels, and '.*model\.graphdef' is a frozen"
    ):
        served.load()


@pytest.mark.parametrize("damage", ["cut off", "other bytes", "empty"])
def test_a_damaged_file_is_refused(served: Any, damage: str) -> None:
    path: Path = freeze(served.folder(tensor("output", "y")) / "model.graphdef", build)
    whole = path.read_bytes()
    path.write_bytes({"cut off": whole[: len(whole) // 2], "other bytes": bytes(range(256)), "empty": b""}[damage])
    with pytest.raises(ConfigError, match=r"model\.graphdef'.*(cut off|empty)"):
        served.load()


def test_a_frozen_graph_is_compiled_where_the_parameter_says_so(served: Any, parameter: Any) -> None:
    """It has no function that could be compiled whole: XLA chooses what it compiles."""
    folder = served.folder("max_batch_size: 4\n" + tensor("output", "y") + parameter("jit_compile", "true"))
    freeze(folder / "model.graphdef", build)
    served.load()
    assert served.infer(x=np.float32([[1, 2]]))["y"].tolist() == [[3, 5]]
