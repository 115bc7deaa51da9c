"""Models that cannot be served: what is wrong, and what to do about it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.backends.tensorflow.exported import freeze, save, tf
from tests.backends.tensorflow.test_tensorflow_saved_models import save_v1

from atoll.errors import ConfigError


def refusal(served: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        served.load()
    return str(refused.value)


def save_with_variable(served: Any, config: str = "") -> Path:
    return save_v1(served.folder(config) / "model.savedmodel")


def test_variables_that_are_not_there_are_named(served: Any) -> None:
    shutil.rmtree(save_with_variable(served) / "variables")
    text = refusal(served)
    assert "its graph has variables, but there is no '" in text
    assert "model.savedmodel/variables/variables.index'" in text


@pytest.mark.parametrize("file", ["variables.index", "variables.data-00000-of-00001"])
@pytest.mark.parametrize("left", [0.0, 0.5])
def test_variables_that_are_cut_off_are_named(served: Any, file: str, left: float) -> None:
    path = save_with_variable(served) / "variables" / file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * left)])
    text = refusal(served)
    assert "model.savedmodel/variables' or '" in text
    assert "copy the SavedModel's folder again, whole" in text


def test_data_of_variables_that_is_not_there_is_named(served: Any) -> None:
    (save_with_variable(served) / "variables" / "variables.data-00000-of-00001").unlink()
    assert "copy the SavedModel's folder again, whole" in refusal(served)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.keras", b"PK\x03\x04", "found model.keras"),
        ("model.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "found model.h5 there: it is an HDF5 file"),
        ("model.tflite", b"\x1c\0\0\0TFL3" + bytes(64), "found model.tflite there: it is a TensorFlow Lite model"),
        ("ckpt-1.index", b"x", "found ckpt-1.index there: it is of a checkpoint: weights alone are no model"),
        ("frozen.pb", b"x", 'default_model_filename: "frozen.pb"'),
        ("digits.savedmodel", b"x", 'default_model_filename: "digits.savedmodel"'),
        ("other.txt", b"x", "put the model there"),
    ],
)
def test_other_files_of_the_family_get_advice(served: Any, name: str, content: bytes, words: str) -> None:
    (served.folder() / name).write_bytes(content)
    text = refusal(served)
    assert words in text
    assert "1/model.savedmodel'" in text


def test_a_folder_too_many_is_named(served: Any) -> None:
    folder = served.folder() / "model.savedmodel"
    save_v1(folder / "digits")
    assert "there is no saved_model.pb in this folder, but the SavedModel 'digits'" in refusal(served)


def test_a_folder_without_the_model_is_named(served: Any) -> None:
    folder = save_with_variable(served)
    (folder / "saved_model.pb").unlink()
    assert "there is no saved_model.pb in this folder, which holds " in refusal(served)


def test_a_file_in_a_folders_place_is_named_by_its_kind(served: Any) -> None:
    (served.folder() / "model.savedmodel").write_bytes(b"GGUF" + bytes(64))
    text = refusal(served)
    assert "a SavedModel is a folder with saved_model.pb in it, but this is a file; the file is a GGUF file" in text


def edited(folder: Path, edit: Any) -> None:
    path = folder / "saved_model.pb"
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    whole = SavedModel.FromString(path.read_bytes())
    edit(whole.meta_graphs[0])
    path.write_bytes(whole.SerializeToString())


def test_unknown_operations_are_named_with_what_has_them(served: Any) -> None:
    def edit(meta_graph: Any) -> None:
        meta_graph.graph_def.node.add(name="a", op="SentencepieceOp")
        meta_graph.graph_def.library.function[0].node_def.add(name="b", op="NoSuchThing")

    folder = served.folder() / "model.savedmodel"
    edited(save(folder, lambda x: {"y": -x}, {"x": ("FP32", [None, 2])}), edit)
    text = refusal(served)
    assert "Op type not registered: NoSuchThing, SentencepieceOp." in text
    assert "op_library_filename" in text
    assert tf.__version__ in text


def test_unknown_operations_of_a_frozen_graph_are_named(served: Any) -> None:
    path = freeze(served.folder() / "model.graphdef", lambda: tf.constant(1.0, name="c"))
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    graph.node.add(name="y", op="NoSuchThing")
    path.write_bytes(graph.SerializeToString())
    assert "Op type not registered: NoSuchThing." in refusal(served)


def test_a_model_of_a_newer_tensorflow_is_told(served: Any) -> None:
    def edit(meta_graph: Any) -> None:
        meta_graph.graph_def.versions.min_consumer = 1_000_000

    edited(save_with_variable(served), edit)
    assert f"a newer TensorFlow wrote the model than the installed {tf.__version__}" in refusal(served)


def test_a_library_of_operations_that_is_not_there_is_named(served: Any) -> None:
    save_with_variable(served, 'model_operations {op_library_filename: "ops.so"}')
    assert "op_library_filename names 'ops.so', which is neither in '" in refusal(served)


def test_a_library_of_operations_that_cannot_be_loaded_is_named(served: Any) -> None:
    folder = save_with_variable(served, 'model_operations {op_library_filename: "ops.so"}')
    (folder.parent / "ops.so").write_bytes(b"no library")
    text = refusal(served)
    assert "cannot load the custom operations in '" in text
    assert "they must be built for the installed TensorFlow" in text


def test_a_model_on_a_gpu_is_refused_where_there_is_none(served: Any) -> None:
    save_with_variable(served, "instance_group {kind: KIND_GPU}")
    assert "KIND_GPU" in refusal(served)


def test_an_operation_that_the_device_does_not_have_is_told_at_load(served: Any) -> None:
    """The collective operations of TPUs are registered everywhere, and have no kernel on a CPU."""

    def build() -> None:
        x = tf.compat.v1.placeholder(tf.float32, [2], name="x")
        tf.raw_ops.CrossReplicaSum(input=x, group_assignment=[[0]], name="z")

    freeze(served.folder('output {name: "z" data_type: TYPE_FP32 dims: 2}') / "model.graphdef", build)
    text = refusal(served)
    assert "CrossReplicaSum" in text
    assert "model.graphdef'" in text
