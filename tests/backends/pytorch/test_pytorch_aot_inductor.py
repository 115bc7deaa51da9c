"""Packages of AOTInductor: one is compiled for all tests here, as that takes a C++ compiler and its time."""

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.backends.config_text import parameter_text, tensor_text
from tests.backends.pytorch.conftest import TorchModels, config_text

from atoll.backends.api import Placement

ROWS = torch.export.Dim.AUTO


class Net(torch.nn.Module):
    """Writes to what it is given, and returns two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(4.0))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x.add_(1)
        return x * self.weight, x.sum(1)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler to make a package with")
    folder = tmp_path_factory.mktemp("package")
    program = torch.export.export(Net().eval(), (torch.zeros(2, 4),), dynamic_shapes={"x": {0: ROWS}})
    settings = {"aot_inductor.compile_wrapper_opt_level": "O0"}
    path = folder / "model.pt2"
    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)
    return path


def put(models: TorchModels, package: Path, config: str, name: str = "m") -> Path:
    folder = models.repository.model(name, config)
    return Path(shutil.copy(package, folder))


CONFIG = config_text("x", "") + tensor_text("output", "y") + tensor_text("output", "sum", "FP32", "[1], reshape: {}")


def test_a_package_answers(models: TorchModels, package: Path, four: Any) -> None:
    put(models, package, CONFIG)
    before = four.copy()
    found = models.server().infer("m", {"x": four})
    np.testing.assert_array_equal(found["y"], (before + 1) * np.arange(4))
    np.testing.assert_array_equal(found["sum"].ravel(), (before + 1).sum(1))
    np.testing.assert_array_equal(four, before)


def test_several_instances_and_batches_of_any_size(models: TorchModels, package: Path) -> None:
    put(models, package, CONFIG + "instance_group [{count: 2, kind: KIND_CPU}]\n")
    with models.model() as model:
        assert model.bounded
        instances = [model.instance(Placement(f"m_0_{i}")) for i in range(2)]
        kept = []
        for size in (1, 8, 3):
            for instance in instances:
                sent = np.full((size, 4), size, np.float32)
                kept.append((size, instance.execute({"x": sent}, ["sum"])["sum"]))
                np.testing.assert_array_equal(sent, np.full((size, 4), size))
        for size, found in kept:  # none was written over
            np.testing.assert_array_equal(found, np.full(size, 4 * (size + 1)))
        for instance in instances:
            instance.close()


def test_what_was_unpacked_is_gone_when_the_model_is(models: TorchModels, package: Path, four: Any) -> None:
    put(models, package, CONFIG)
    before = set(Path(tempfile.gettempdir()).glob("*/data/aotinductor"))
    with models.instance() as instance:
        instance.execute({"x": four}, ["y"])
    assert set(Path(tempfile.gettempdir()).glob("*/data/aotinductor")) <= before


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (
            tensor_text("input", "x", "FP64"),
            "unexpected datatype TYPE_FP64 for inference input 'x', expecting TYPE_FP32",
        ),
        (tensor_text("input", "x", "FP32", "[5]"), "the model expects 2 dimensions (shape [-1,4])"),
        (tensor_text("input", "x", "FP32", "[-1]"), "the model expects 2 dimensions (shape [-1,4])"),
        (tensor_text("input", "x") + tensor_text("input", "y"), "2 inputs are x, y, but the model takes 1"),
    ],
)
def test_what_its_machine_code_would_not_notice_is_refused(
    models: TorchModels, package: Path, tensor: str, found: str
) -> None:
    put(models, package, CONFIG.replace(tensor_text("input", "x"), tensor))
    assert found in models.refusal()


def test_parameters_that_do_nothing_for_machine_code_are_refused(models: TorchModels, package: Path) -> None:
    put(models, package, CONFIG + parameter_text("AUTOCAST", "bf16"))
    assert "parameter 'AUTOCAST' does nothing for a package of AOTInductor" in models.refusal()


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("AOTI_MACHINE", "riscv64", "it was compiled for riscv64, but this is"),
        ("AOTI_PLATFORM", "plan9", "it was compiled for plan9, but this is"),
        ("AOTI_DEVICE_KEY", "cuda", "the file needs a GPU that is not here"),
    ],
)
def test_machine_code_for_another_machine_is_refused(
    models: TorchModels, package: Path, key: str, value: str, found: str
) -> None:
    path = put(models, package, CONFIG)
    with zipfile.ZipFile(package) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("_metadata.json"):
                content = json.dumps({**json.loads(content), key: value}).encode()
            changed.writestr(name, content)
    text = models.refusal()
    assert found in text
    assert str(path) in text


def test_a_package_that_is_cut_off_is_refused(models: TorchModels, package: Path) -> None:
    path = put(models, package, CONFIG)
    path.write_bytes(package.read_bytes()[:-100_000])
    assert str(path) in models.refusal()
