"""SavedModels: which graph and which signature are served, and what is known of their tensors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.backends.tensorflow.exported import save, tf

from atoll import Server
from atoll.cli.main import main
from atoll.errors import ConfigError

tf1 = tf.compat.v1


def shapes(tensors: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {one.name: (one.data_type.name, one.dims) for one in tensors}


def save_v1(folder: Path, *, tags: tuple[str, ...] = ("serve",), names: tuple[str, ...] = ("serving_default",)) -> Path:
    """As TensorFlow 1 writes them: y = 3 * x, from a variable."""
    builder = tf1.saved_model.Builder(str(folder))
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 2], name="data")
        factor = tf1.get_variable("factor", initializer=3.0, use_resource=False)
        y = tf.multiply(x, factor, name="product")
        session.run(tf1.global_variables_initializer())
        signature = tf1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, list(tags), dict.fromkeys(names, signature))
    builder.save()
    return folder


def save_two_signatures(folder: Path) -> None:
    module = tf.Module()
    module.double = tf.function(lambda x: {"doubled": x * 2}, input_signature=[tf.TensorSpec([None, 2], name="x")])
    module.negate = tf.function(lambda x: {"negated": -x}, input_signature=[tf.TensorSpec([None, 2], name="x")])
    tf.saved_model.save(module, str(folder), signatures={"double": module.double, "negate": module.negate})


def test_a_configuration_is_filled_in_from_the_signature(served: Any) -> None:
    specs = {"image": ("FP32", [None, 3, None]), "label": ("BYTES", [None]), "flag": ("BOOL", [None, 1])}
    folder = served.folder() / "model.savedmodel"
    save(folder, lambda image, label, flag: {"sum": tf.reduce_sum(image, [1, 2]), "l": label, "f": flag}, specs)
    config = served.load()
    assert config.max_batch_size == 4
    assert shapes(config.input) == {"image": ("FP32", (3, -1)), "label": ("BYTES", (1,)), "flag": ("BOOL", (1,))}
    assert set(shapes(config.output)) == {"sum", "l", "f"}


def test_a_model_of_tensorflow_1_is_served(served: Any) -> None:
    save_v1(served.folder() / "model.savedmodel")
    assert shapes(served.load().input) == {"x": ("FP32", (2,))}
    assert served.infer(x=np.float32([[1, 2]]))["y"].tolist() == [[3, 6]]


def test_a_keras_model_is_served_as_it_exports_itself(served: Any) -> None:
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.Input((4,), name="x"), layers.Dense(3, activation="softmax", name="y")])
    model.export(str(served.folder() / "model.savedmodel"), verbose=False)
    served.load()
    sent = np.random.default_rng(0).random((5, 4), np.float32)
    served.server.unload_model("m")
    (served.root / "m" / "config.pbtxt").write_text('backend: "tensorflow"\nmax_batch_size: 8')
    served.load()
    (answer,) = served.infer(x=sent).outputs
    np.testing.assert_allclose(answer.array(), model(sent).numpy(), rtol=1e-5)


def test_the_signature_is_chosen_by_a_parameter(served: Any, parameter: Any) -> None:
    save_two_signatures(served.folder(parameter("TF_SIGNATURE_DEF", "negate")) / "model.savedmodel")
    served.load()
    assert served.infer(x=np.float32([[1, 2]]))["negated"].tolist() == [[-1, -2]]


def test_without_a_default_it_is_the_one_that_the_configuration_fits(served: Any) -> None:
    config = 'output {name: "doubled" data_type: TYPE_FP32 dims: 2}'
    save_two_signatures(served.folder(config) / "model.savedmodel")
    served.load()
    assert served.infer(x=np.float32([[1, 2]]))["doubled"].tolist() == [[2, 4]]


def test_without_a_default_the_only_signature_is_served(served: Any) -> None:
    save_v1(served.folder() / "model.savedmodel", names=("predict",))
    assert shapes(served.load().output) == {"y": ("FP32", (2,))}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("TF_SIGNATURE_DEF", "no_such", "has no signature 'no_such'; its signatures are: double, negate;"),
        ("TF_GRAPH_TAG", "train,gpu", "no graph with the tags 'gpu,train'; its graphs' tags are: serve;"),
        ("TAGS", "gpu", "no graph with the tags 'gpu'"),
        ("other", "", "expected 'serving_default' signature; its signatures are: double, negate;"),
    ],
)
def test_what_is_not_in_the_file_is_told_with_what_is(
    served: Any, parameter: Any, key: str, value: str, words: str
) -> None:
    save_two_signatures(served.folder(parameter(key, value)) / "model.savedmodel")
    with pytest.raises(ConfigError) as refusal:
        served.load()
    assert words in str(refusal.value)
    assert "1/model.savedmodel" in str(refusal.value)


@pytest.mark.parametrize("config", ["TF_GRAPH_TAG", "TAGS", ""])
def test_a_graph_is_chosen_by_its_tags(served: Any, parameter: Any, config: str) -> None:
    """The only one there needs no word."""
    text = parameter(config, "gpu, serve") if config else ""
    save_v1(served.folder(text) / "model.savedmodel", tags=("serve", "gpu"))
    served.load()
    assert served.infer(x=np.float32([[1, 2]]))["y"].tolist() == [[3, 6]]


def test_a_folder_as_tensorflow_serving_has_it_is_served(served: Any) -> None:
    folder = served.folder()
    folder.rmdir()
    save_v1(folder)
    served.load()
    assert served.infer(x=np.float32([[1, 2]]))["y"].tolist() == [[3, 6]]


def test_an_input_with_a_default_may_be_left_out(served: Any) -> None:
    folder = (
        served.folder(
            'input [{name: "x" data_type: TYPE_FP32 dims: 2},{name: "by" data_type: TYPE_FP32 dims: 2 optional: true}]'
        )
        / "model.savedmodel"
    )
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [2])
        by = tf1.placeholder_with_default(tf.constant([10.0, 10.0]), [2])
        tf1.saved_model.simple_save(session, str(folder), {"x": x, "by": by}, {"y": x * by})
    served.load()
    assert served.infer(x=np.float32([1, 2]))["y"].tolist() == [10, 20]
    assert served.infer(x=np.float32([1, 2]), by=np.float32([3, 4]))["y"].tolist() == [3, 8]


def test_a_tensor_of_unknown_rank_takes_the_shape_that_the_configuration_has(served: Any) -> None:
    config = 'input {name: "x" data_type: TYPE_FP32 dims: [2, 3]} output {name: "y" data_type: TYPE_FP32 dims: [2, 3]}'
    save(served.folder(config) / "model.savedmodel", lambda x: {"y": -x}, {"x": ("FP32", None)})
    served.load()
    assert served.infer(x=np.ones((2, 3), np.float32))["y"].tolist() == [[-1] * 3] * 2


def test_a_table_gets_its_words_from_the_models_assets(served: Any, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes(b"zero\none\n\xff\n")
    initializer = tf.lookup.TextFileInitializer(
        str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initializer, -1)
    module.run = tf.function(
        lambda word: {"number": module.table.lookup(word)}, input_signature=[tf.TensorSpec([None], tf.string, "word")]
    )
    tf.saved_model.save(module, str(served.folder() / "model.savedmodel"), signatures=module.run)
    words.unlink()
    served.load()
    sent = np.array([b"one", b"\xff", b"two"], np.object_)
    assert served.infer(word=sent.reshape(3, 1))["number"].tolist() == [[1], [2], [-1]]


def test_an_input_that_is_no_plain_tensor_is_refused(served: Any) -> None:
    folder = served.folder() / "model.savedmodel"
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.sparse_placeholder(tf.float32, [None, 4])
        tf1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": tf1.sparse_reduce_sum(x, 1)})
    with pytest.raises(ConfigError, match=r"input 'x' of signature 'serving_default' of .* is a sparse tensor"):
        served.load()


def test_an_output_of_another_type_is_left_out(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    save(
        served.folder() / "model.savedmodel",
        lambda x: {"y": x + 1, "c": tf.complex(x, x)},
        {"x": ("FP32", [None, 2])},
    )
    assert set(shapes(served.load().output)) == {"y"}
    assert "output 'c' of signature 'serving_default'" in caplog.text
    assert "DT_COMPLEX64" in caplog.text


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('input {name: "x" data_type: TYPE_INT32 dims: 2}', "unexpected datatype TYPE_INT32"),
        ('input {name: "x" data_type: TYPE_FP32 dims: 3}', "the model expects 2 dimensions (shape [-1,2])"),
        ('input {name: "z" data_type: TYPE_FP32 dims: 2}', "unexpected inference input 'z', allowed inputs are: x"),
        ('output {name: "z" data_type: TYPE_FP32 dims: 2}', "unexpected inference output 'z', allowed outputs are: y"),
    ],
)
def test_a_configuration_that_disagrees_is_refused(served: Any, config: str, words: str) -> None:
    save_v1(served.folder(f"max_batch_size: 4\n{config}") / "model.savedmodel")
    with pytest.raises(ConfigError) as refusal:
        served.load()
    assert words in str(refusal.value)


def test_it_is_also_refused_where_nothing_is_filled_in(served: Any) -> None:
    tensors = 'input {name: "x" data_type: TYPE_FP32 dims: 2} output {name: "z" data_type: TYPE_FP32 dims: 2}'
    save_v1(served.folder(f"max_batch_size: 4 {tensors}") / "model.savedmodel")
    with (
        Server(served.root, model_control_mode="explicit", disable_auto_complete_config=True) as server,
        pytest.raises(ConfigError, match="unexpected inference output 'z'"),
    ):
        server.load_model("m")


def test_what_a_folder_holds_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "triple.savedmodel", lambda x: {"y": x * 3}, {"x": ("FP32", [None, 2])})
    assert main(["inspect", str(tmp_path / "triple.savedmodel")]) == 0
    printed = capsys.readouterr().out
    assert "# the file has: input x TYPE_FP32 [-1, 2]" in printed
    assert not any(line.startswith("name:") for line in printed.splitlines())
