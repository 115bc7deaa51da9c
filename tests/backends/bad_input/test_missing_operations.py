"""Models that need what their framework does not have: the error names the file and what is missing."""

import zipfile
from pathlib import Path

import pytest
from tests.backends.bad_input.model_files import FORMATS, Frail

# by the format: the file inside the model, what is written there, what is put in its place, and the name of that
NEEDS: dict[str, tuple[str, str, str, str]] = {
    "onnx": ("", "Relu", "Relz", "Relz"),
    "torchscript": (".py", "torch.relu(", "torch.relz(", "relz"),
    "torch_export": ("model.json", "aten.relu.", "aten.relz.", "relz"),
    "savedmodel": ("saved_model.pb", "Relu", "Relz", "Relz"),
    "graphdef": ("", "Relu", "Relz", "Relz"),
    "openvino": ("", 'type="ReLU"', 'type="ReLZ"', "ReLZ"),
    "sklearn": ("schema.json", '"MLPClassifier"', '"MLPClassifiez"', "MLPClassifiez"),
    "xgboost": ("", "multi:softprob", "multi:softproz", "multi:softproz"),
    "lightgbm": ("", "objective=multiclass", "objective=multiclasz", "multiclasz"),
}


def change(path: Path, inside: str, before: bytes, after: bytes) -> None:
    """Wherever it stands. Archives are written anew, as their checksums would tell."""
    if path.is_dir():
        path = path / inside
    if not zipfile.is_zipfile(path):
        content = path.read_bytes()
        assert before in content
        path.write_bytes(content.replace(before, after))
        return
    with zipfile.ZipFile(path) as archive:
        entries = {one.filename: archive.read(one) for one in archive.infolist()}
    named = [name for name, content in entries.items() if name.endswith(inside) and before in content]
    assert named
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content.replace(before, after) if name in named else content)


@pytest.mark.parametrize("name", NEEDS)
def test_an_operation_that_nobody_has(frail: Frail, name: str) -> None:
    given = FORMATS[name]
    inside, before, after, missing = NEEDS[name]
    model, folder = frail.folder()
    path = given.put(folder)
    change(path, inside, before.encode(), after.encode())
    (folder.parent / "config.pbtxt").write_text(given.config())
    text = frail.refuses(model)
    assert str(path) in text, text
    assert missing in text, text
    frail.serves()
