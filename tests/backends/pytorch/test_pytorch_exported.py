"""Files of torch.export: what is filled in from them, how arguments go in, and the pickles that are not read."""

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.backends.config_text import tensor_text
from tests.backends.pytorch.conftest import TorchModels, config_text

from atoll.tensor import DataType

ROWS = torch.export.Dim.AUTO


class Scores(torch.nn.Module):
    def forward(self, Pixels: torch.Tensor, bias: torch.Tensor) -> dict[str, torch.Tensor]:  # noqa: N803
        return {"scores": Pixels.sum(2) + bias, "double": Pixels.double()}


class Tree(torch.nn.Module):
    def forward(
        self, tensors: dict[str, torch.Tensor], pair: list[torch.Tensor], mode: str, *, shift: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return tensors["a"] - tensors["b"], [pair[0] + shift, pair[1] * 2]


class Halves(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


def scores(models: TorchModels, config: str | None) -> Path:
    sizes = {"Pixels": {0: ROWS, 1: ROWS}, "bias": {0: ROWS}}
    examples = (torch.zeros(2, 5, 3), torch.zeros(2, 1))
    return models.exported(Scores(), examples, config, dynamic_shapes=sizes)


def test_a_file_without_a_configuration_is_filled_in(models: TorchModels) -> None:
    scores(models, None)
    server = models.server()
    config = server.model("m").config
    assert config.max_batch_size == 4
    assert [(one.name, one.data_type.name, one.dims) for one in config.input] == [
        ("Pixels", "FP32", (-1, 3)),
        ("bias", "FP32", (1,)),
    ]
    assert [(one.name, one.data_type.name, one.dims) for one in config.output] == [
        ("scores", "FP32", (-1,)),
        ("double", "FP64", (-1, 3)),
    ]
    sent = {"Pixels": np.ones((1, 4, 3), np.float32), "bias": np.ones((1, 1), np.float32)}
    np.testing.assert_array_equal(server.infer("m", sent)["scores"], np.full((1, 4), 4))


def test_a_fixed_first_dimension_is_no_batch(models: TorchModels, four: Any) -> None:
    models.exported(Halves(), (torch.zeros(2, 4),), None)
    server = models.server()
    config = server.model("m").config
    assert config.max_batch_size == 0
    assert config.input[0].dims == (2, 4)
    np.testing.assert_array_equal(server.infer("m", {"x": four})["OUTPUT__0"], four / 2)


def test_arguments_that_are_trees_and_constants(models: TorchModels, four: Any) -> None:
    one, two, three, four_, five = (torch.full((2, 4), float(i)) for i in range(5))  # one tensor twice is one input
    models.exported(Tree(), ({"b": one, "a": two}, [three, four_], "fast"), None, kwargs={"shift": five})
    server = models.server()
    names = [one.name for one in server.model("m").config.input]
    assert names == ["b", "a", "pair_0", "pair_1", "shift"]
    found = server.infer("m", {"a": four, "b": four * 2, "pair_0": four, "pair_1": four, "shift": four * 0 + 1})
    np.testing.assert_array_equal(found["OUTPUT__0"], -four)
    np.testing.assert_array_equal(found["OUTPUT__1"], four + 1)
    np.testing.assert_array_equal(found["OUTPUT__2"], four * 2)


def test_a_configuration_that_disagrees_is_refused_with_both_sides(models: TorchModels) -> None:
    wrong = {
        "type": (tensor_text("input", "x", "INT32"), "unexpected datatype TYPE_INT32"),
        "dims": (tensor_text("input", "x", "FP32", "[5]"), "the model expects 2 dimensions (shape [-1,4])"),
        "name": (tensor_text("input", "y"), "1 inputs are y, but the model takes 1: x"),
    }
    for name, (tensor, _) in wrong.items():
        config = config_text("").replace("max_batch_size: 8\n", f"max_batch_size: 8\n{tensor}")
        models.exported(Halves(), (torch.zeros(2, 4),), config, name=name, dynamic_shapes={"x": {0: ROWS}})
    server = models.server(strict_readiness=False, exit_on_error=False)
    reasons = {one.name: one.reason for one in server.repository_index()}
    for name, (_, found) in wrong.items():
        assert found in reasons[name], reasons[name]


def repacked(path: Path, changed: Mapping[str, Any]) -> None:
    """Replace records of an archive, by their names' ends: bytes, or what makes other bytes of them."""
    with zipfile.ZipFile(path) as archive:
        records = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            new = next((one for end, one in changed.items() if name.endswith(end)), content)
            archive.writestr(name, new(content) if callable(new) else new)


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def harmful_record(trace: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save((Harmful(str(trace)),), buffer)
    return buffer.getvalue()


def test_a_pickle_in_the_sample_inputs_is_not_read(models: TorchModels, tmp_path: Path) -> None:
    path = models.exported(Halves(), (torch.zeros(2, 4),), None)
    repacked(path, {"sample_inputs/model.pt": harmful_record(tmp_path / "harm")})
    text = models.refusal()
    assert "its record data/sample_inputs/model.pt is a pickle that may run any code" in text
    assert "--backend-config=pytorch,allow-pickle=true" in text
    assert not (tmp_path / "harm").exists()


def test_a_pickled_constant_is_not_read(models: TorchModels, tmp_path: Path) -> None:
    path = models.exported(Halves(), (torch.zeros(2, 4),), None)
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"thing": entry}}).encode()
    repacked(path, {"model_constants_config.json": config})
    with zipfile.ZipFile(path, "a") as archive:
        prefix = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{prefix}/data/constants/opaque_obj_0", pickle.dumps(Harmful(str(tmp_path / "harm"))))
    assert "its record data/constants/opaque_obj_0 is a pickle" in models.refusal()
    assert not (tmp_path / "harm").exists()


def test_a_list_of_constants_of_another_form_is_told(models: TorchModels) -> None:
    path = models.exported(Halves(), (torch.zeros(2, 4),), None)
    repacked(path, {"model_constants_config.json": b'{"config": {"a": 1}}'})
    assert "its lists of records have an unknown form" in models.refusal()


def test_a_missing_operator_is_named(models: TorchModels) -> None:
    path = models.exported(Halves(), (torch.zeros(2, 4),), None)
    repacked(path, {"models/model.json": lambda old: old.replace(b"torch.ops.aten.div.Tensor", b"torch.ops.mine.op.x")})
    text = models.refusal()
    assert str(path) in text
    assert "lacks the operator 'mine::op" in text
    assert "op_library_filename" in text


def test_another_version_of_the_format_is_told(models: TorchModels) -> None:
    path = models.exported(Halves(), (torch.zeros(2, 4),), None)

    def newer(content: bytes) -> bytes:
        document = json.loads(content)
        document["schema_version"]["major"] += 1
        document["torch_version"] = "9.9.0"
        return json.dumps(document).encode()

    repacked(path, {"models/model.json": newer})
    text = models.refusal()
    assert "saved by PyTorch 9.9.0" in text
    assert "another version of PyTorch: upgrade PyTorch here, or export it again" in text


def test_a_program_of_another_form_is_told(models: TorchModels) -> None:
    path = models.exported(Halves(), (torch.zeros(2, 4),), None)
    repacked(path, {"models/model.json": b'{"torch_version": "9.9", "graph_module": {}}'})
    assert "its program, of PyTorch 9.9, has an unknown form" in models.refusal()


def test_a_size_that_the_program_was_not_made_for_is_an_error(models: TorchModels) -> None:
    sizes = {"x": {0: torch.export.Dim("rows", max=3)}}
    path = models.exported(Halves(), (torch.zeros(2, 4),), config_text("x"), dynamic_shapes=sizes)
    assert path.is_file()
    with models.instance() as instance:
        assert instance.execute({"x": np.zeros((3, 4), np.float32)}, ["OUTPUT__0"])["OUTPUT__0"].shape == (3, 4)


def test_bf16_and_types_besides(models: TorchModels) -> None:
    models.exported(Halves(), (torch.zeros(3, dtype=torch.bfloat16),), None)
    server = models.server()
    assert server.model("m").config.input[0].data_type is DataType.BF16
    bits = torch.tensor([1.0, -3.0, float("nan")], dtype=torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    with models.instance() as instance:
        found = instance.execute({"x": bits}, ["OUTPUT__0"])["OUTPUT__0"]
    assert found.dtype == np.uint16
    values = torch.from_numpy(found.view(np.int16)).view(torch.bfloat16)
    assert values[:2].tolist() == [0.5, -1.5]
    assert values[2].isnan()
