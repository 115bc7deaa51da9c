"""Labels files, read as Triton 2.51 was seen to read the same ones."""

import os
from pathlib import Path

import pytest

from atoll.config.model_config import ModelConfig, ModelOutput
from atoll.errors import ConfigError
from atoll.models.labels import MAX_LABELS_BYTES, read_labels


def config_of(*names: str) -> ModelConfig:
    return ModelConfig(
        name="m", output=tuple(ModelOutput(name=f"O{index}", label_filename=name) for index, name in enumerate(names))
    )


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"a\nb\nc\n", ("a", "b", "c")),
        (b"a\nb", ("a", "b")),
        (b"", ()),
        (b"a\n\nc\n\n\n", ("a", "", "c", "", "")),
        (b"a\r\n\r\n d \r\ne", ("a\r", "\r", " d \r", "e")),
        (b'a:1\n x:y \n"q"\nd,e\n', ("a:1", " x:y ", '"q"', "d,e")),
        (b"one\x0btwo\xe2\x80\xa8three\x85\n", ("one\x0btwo\u2028three\udc85",)),  # other line ends are none
    ],
)
def test_one_label_a_line(tmp_path: Path, data: bytes, labels: tuple[str, ...]) -> None:
    (tmp_path / "l.txt").write_bytes(data)
    found = read_labels(config_of("l.txt"), tmp_path)
    assert found == {"O0": labels}
    assert [one.encode("utf-8", "surrogateescape") for one in found["O0"]] == data.split(b"\n")[: len(labels)]


def test_only_outputs_with_a_file_have_labels(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "l.txt").write_text("x\n")
    assert read_labels(config_of("", "sub/l.txt"), tmp_path) == {"O1": ("x",)}
    assert read_labels(config_of(""), tmp_path / "nowhere") == {}


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(MAX_LABELS_BYTES + 1)
    names = ("gone.txt", "folder", "pipe", "huge", "../x/l.txt", "/etc/hostname", "a\0b")
    with pytest.raises(ConfigError) as caught:
        read_labels(config_of(*names), tmp_path)
    problems = caught.value.problems
    assert [one.path for one in problems] == [f"output[{index}].label_filename" for index in range(len(names))]
    assert f"failed to open text file for read {tmp_path}/gone.txt: No such file or directory" in problems[0].message
    for problem in problems[1:3]:
        assert problem.message.startswith(f"failed to open text file for read {tmp_path}/")
    assert "is not a regular file" in problems[2].message
    assert "too large" in problems[3].message
    for problem in problems[4:]:
        assert f"does not name a file inside {tmp_path}" in problem.message
