"""Files that are no model of PyTorch, or of one that cannot run here."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.backends.pytorch.conftest import TorchModels, config_text

from atoll.backends.api import ModelSource
from atoll.backends.pytorch import PyTorchBackend
from atoll.config.model_config import ModelConfig


def test_a_state_dict_is_no_model(models: TorchModels) -> None:
    folder = models.repository.model("m", config_text())
    torch.save({"weight": torch.ones(1)}, folder / "model.pt")
    text = models.refusal()
    assert f"failed to load model 'm' from '{folder / 'model.pt'}'" in text
    assert "the file is an archive of torch.save: weights alone are no model" in text


def test_a_pickled_module_is_no_model(models: TorchModels) -> None:
    folder = models.repository.model("m", config_text())
    torch.save(torch.nn.Linear(1, 1), folder / "model.pt")
    assert "weights alone are no model" in models.refusal()


def test_a_file_is_told_by_what_is_in_it(models: TorchModels, four: Any) -> None:
    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    folder = models.repository.model("m", config_text())
    with (folder / "model.pt").open("wb") as file:
        torch.export.save(program, file)
    np.testing.assert_array_equal(models.server().infer("m", {"INPUT__0": four})["OUTPUT__0"], np.maximum(four, 0))


def test_a_missing_operator_is_named(models: TorchModels) -> None:
    path = models.script(torch.nn.ReLU(), config_text())
    with zipfile.ZipFile(path) as archive:
        records = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            wanted = name.endswith("functional.py")
            text = (
                content.decode().replace("torch.relu(input)", "ops.torchvision.nms(input, input, 0.5)")
                if wanted
                else ""
            )
            archive.writestr(name, text.encode() if wanted else content)
    text = models.refusal()
    assert "lacks the operator 'torchvision::nms'" in text
    assert "model_operations.op_library_filename" in text


def test_a_library_of_operators_that_is_not_there_is_told(models: TorchModels) -> None:
    models.script(torch.nn.ReLU(), config_text(more='model_operations {op_library_filename: "mine.so"}\n'))
    assert "model_operations.op_library_filename names 'mine.so', which is neither in" in models.refusal()


def test_a_library_of_operators_that_is_none_is_told(models: TorchModels) -> None:
    path = models.script(torch.nn.ReLU(), config_text(more='model_operations {op_library_filename: "mine.so"}\n'))
    (path.parent / "mine.so").write_bytes(b"no library")
    assert str(path.parent / "mine.so") in models.refusal()


def test_this_build_runs_on_no_gpu(models: TorchModels, tmp_path: Path) -> None:
    source = ModelSource(
        name="m", version=1, model_directory=tmp_path, version_directory=tmp_path, config=ModelConfig()
    )
    support = PyTorchBackend().gpu_support(source, (0, 1))
    if torch.version.cuda is None:
        assert support.gpus == ()
        assert "is a build for the CPU: install one with CUDA" in support.missing
    else:
        assert set(support.gpus) <= {0, 1}
