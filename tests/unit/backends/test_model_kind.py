"""The kinds of files, told from what the frameworks write first: each sample's bytes are from a file that one made."""

import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends import model_kind as kinds
from atoll.backends.model_kind import backend_of_file, kind_of, wrong_kind

STARTS = {
    "empty": (b"", kinds.EMPTY),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n", kinds.GIT_LFS),
    "html": (b"<!DOCTYPE html>\n<html lang=en>", kinds.WEB_PAGE),
    "html after a byte order mark": (b"\xef\xbb\xbf \n<HTML><head>", kinds.WEB_PAGE),
    "xhtml": (b'<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">', kinds.WEB_PAGE),
    "object store's error": (b'<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code></Error>', kinds.XML),
    "openvino": (b'<?xml version="1.0"?>\n<net name="m" version="11">\n\t<layers>', kinds.OPENVINO_IR),
    "onnx, onnx.helper": (b"\x08\x0e:7\n\x10\n\x01a\x12\x01b\x22\x08Identity\x12\x01gZ\x0f\n\x01a", kinds.ONNX),
    "onnx, torch.onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.6.0:\xb5\x03\n", kinds.ONNX),
    "onnx, skl2onnx": (b"\x08\x0a\x12\x08skl2onnx\x1a\x061.18.0\x22\x07ai.onnx(\x002\x00:", kinds.ONNX),
    "tensorflow saved_model.pb": (b"\x08\x01\x12\x9d@\n\xf9\n\x12\xc9\n\nD\n\x05AddV2", kinds.SAVED_MODEL_FILE),
    "tensorflow graph": (b"\nX\n\x01x\x12\x0bPlaceholder*\x1b\n\x14_user_specified_name", kinds.GRAPH_DEF),
    "tensorflow graph, long node": (b"\n\xc8\x02\n\x07model/x\x12\x05Const*\x0b\n\x05dtype", kinds.GRAPH_DEF),
    "tflite": (b"\x1c\x00\x00\x00TFL3\x14\x00 \x00\x1c\x00\x18\x00", kinds.TFLITE),
    "keras hdf5": (b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00", kinds.HDF5),
    "jax": (
        b"<\x00\x00\x008\x00`\x00" + bytes(60) + b"@\x02\x00\x00ML\xefR\rStableHLO_v1.15.0\x00\x01\x1d",
        kinds.JAX_EXPORT,
    ),
    "torch.save before its archives": (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00(X\x10\x00\x00\x00protocol_version",
        kinds.STATE_DICT,
    ),
    "pickle 0": (b"ccopy_reg\n_reconstructor\np0\n(csklearn.linear_model._base\n", kinds.PICKLE),
    "pickle 2": (b"\x80\x02csklearn.linear_model._base\nLinearRegression\nq", kinds.PICKLE),
    "pickle 5, joblib": (b"\x80\x05\x95\xb5\x01\x00\x00\x00\x00\x00\x00\x8c\x1asklearn.linear_model", kinds.PICKLE),
    "joblib, compressed": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03UR;o\x13A", kinds.TAR),
    "tar": (b"model/".ljust(257, b"\x00") + b"ustar  \x00", kinds.TAR),
    "xgboost json": (b'{"learner":{"attributes":{},"feature_names":[],"', kinds.XGBOOST),
    "xgboost ubj": (
        b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{L\x00\x00\x00\x00\x00\x00\x00\nattributes",
        kinds.XGBOOST,
    ),
    "xgboost before that": (b"binf\x00\x00\x00?\x02\x00\x00\x00", kinds.XGBOOST),
    "lightgbm": (b"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\n", kinds.LIGHTGBM),
    "lightgbm's dump": (
        b'{"name": "tree", "version": "v4", "num_class": 1, "num_tree_per_iteration": 1, ',
        kinds.LIGHTGBM_DUMP,
    ),
    "safetensors": (b'\x48\x00\x00\x00\x00\x00\x00\x00{"weight":{"dtype":"F32","shape":[2,2]', kinds.SAFETENSORS),
    "gguf": (b"GGUF\x03\x00\x00\x00\x01\x00\x00\x00", kinds.GGUF),
    "tensorrt": (b"ftrt\x00\x00\x00\x00", kinds.TENSORRT),
    "noise": (b"\xd3\x9a\x01\x7f\x00\x22", None),
    "text": (b"hello\n", None),
    "json": (b'{"datatype": "FP32"}', None),
}

ARCHIVES = {
    "TorchScript": (
        ["m/data/0", "m/data.pkl", "m/code/__torch__.py", "m/code/__torch__.py.debug_pkl", "m/constants.pkl"],
        kinds.TORCHSCRIPT,
    ),
    "torch.export": (
        ["m/data/weights/weight_0", "m/models/model.json", "m/data/sample_inputs/model.pt", "m/archive_format"],
        kinds.PT2,
    ),
    "torch.export of 2.6": (["serialized_exported_program.json", "serialized_state_dict.json", "version"], kinds.PT2),
    "AOTInductor": (
        ["m/data/aotinductor/model/c.wrapper.cpp", "m/data/aotinductor/model/c.wrapper.so", "m/archive_format"],
        kinds.AOTI,
    ),
    "torch.save": (["m/data.pkl", "m/.format_version", "m/byteorder", "m/data/0", "m/version"], kinds.STATE_DICT),
    "Keras": (["metadata.json", "config.json", "model.weights.h5"], kinds.KERAS),
    "skops": (["139662482089392.npy", "139662482089296.npy", "schema.json"], kinds.SKOPS),
    "anything": (["readme.txt", "weights.bin"], kinds.ZIP),
    "nothing": ([], None),  # an archive of nothing begins otherwise
}


def archive(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"1")
    return path


@pytest.mark.parametrize("sample", STARTS)
def test_a_file_is_known_by_its_first_bytes(tmp_path: Path, sample: str) -> None:
    start, expected = STARTS[sample]
    path = tmp_path / "model.bin"
    path.write_bytes(start)
    assert kind_of(path) == expected
    path.write_bytes(start + bytes(10_000) if start else start)
    assert kind_of(path) == expected


@pytest.mark.parametrize("sample", ARCHIVES)
def test_an_archive_is_known_by_what_is_in_it(tmp_path: Path, sample: str) -> None:
    names, expected = ARCHIVES[sample]
    assert kind_of(archive(tmp_path / "model.bin", names)) == expected


@pytest.mark.parametrize("sample", ["TorchScript", "torch.export", "skops"])
def test_weights_come_before_what_tells_the_kind(tmp_path: Path, sample: str) -> None:
    names, expected = ARCHIVES[sample]
    weights = [f"m/data/{number}.npy" for number in range(500)]
    assert kind_of(archive(tmp_path / "model.bin", [*weights, *names])) == expected


def test_an_archive_that_is_cut_off(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt", ARCHIVES["TorchScript"][0])
    path.write_bytes(path.read_bytes()[:-40])
    assert kind_of(path) == kinds.DAMAGED_ZIP
    assert wrong_kind(path, "pytorch").startswith("; the file is a ZIP archive that is cut off or damaged")


def test_folders(tmp_path: Path) -> None:
    assert kind_of(tmp_path) is None
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert kind_of(tmp_path) == kinds.SAVED_MODEL
    assert wrong_kind(tmp_path, "onnxruntime") == (
        '; the folder is a TensorFlow SavedModel: set backend: "tensorflow" in config.pbtxt'
    )


def test_what_is_not_there_is_of_no_kind(tmp_path: Path) -> None:
    assert kind_of(tmp_path / "missing") is None
    assert wrong_kind(tmp_path / "missing", "onnxruntime") == ""


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    assert kind_of(tmp_path / "model.onnx") is None


def test_what_an_error_ends_with(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(STARTS["onnx, onnx.helper"][0])
    assert wrong_kind(path, "onnxruntime") == "", "that it is what it should be explains nothing"
    assert wrong_kind(path, "pytorch") == '; the file is an ONNX model: set backend: "onnxruntime" in config.pbtxt'
    assert backend_of_file(path) == "onnxruntime"
    path.write_bytes(STARTS["git-lfs"][0])
    assert wrong_kind(path, "onnxruntime") == (
        "; the file is a Git LFS pointer, not the model: run 'git lfs pull' in its repository"
    )
    assert backend_of_file(path) == ""


@pytest.mark.parametrize("kind", [one for one in vars(kinds).values() if isinstance(one, kinds.ModelKind)])
def test_every_kind_says_what_to_do(kind: kinds.ModelKind) -> None:
    assert bool(kind.backend) != bool(kind.advice)


STARTING = st.sampled_from(
    [b"", b"PK\x03\x04", b"\x08\x08", b"\n", b"{", b"<?xml", *(one for one, _ in STARTS.values())]
)


@given(st.builds(lambda start, rest: start + rest, STARTING, st.binary(max_size=300)))
def test_no_bytes_make_it_raise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "model.any"
    path.write_bytes(content)
    kind = kind_of(path)
    assert kind is None or kind.text
    assert isinstance(wrong_kind(path, "pytorch"), str)


@given(st.data())
def test_no_damaged_archive_makes_it_raise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(["m/data.pkl", "schema.json", "m/code/x.py", "ä/🌊"]), unique=True))
    path = archive(tmp_path_factory.getbasetemp() / "model.zip", names)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    kind = kind_of(path)
    assert kind is None or kind.text
