"""The PyTorch backend passes the suite that every backend passes, with TorchScript, torch.export and a model.py."""

from pathlib import Path
from typing import ClassVar

import torch

from atoll.backends.pytorch import PyTorchBackend
from atoll.testing.backend_contract import BackendContract, ModelFiles

TYPES = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BF16": "bfloat16"}
PT2 = 'default_model_filename: "model.pt2"'
NO_TEXT = "PyTorch has text only in lists of one dimension; test_text.py has its own tests"


class Identity(torch.nn.Module):
    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given


class SumAndDifference(torch.nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return first + second, first - second


def element(datatype: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, TYPES.get(datatype, datatype.lower()))
    return found


def export(module: torch.nn.Module, file: Path, count: int, datatype: str, dims: tuple[int, ...], batch: bool) -> None:
    shape = [*([2] if batch else []), *(3 if dim < 0 else dim for dim in dims)]
    free = [*([0] if batch else []), *(i + batch for i, dim in enumerate(dims) if dim < 0)]
    sizes = dict.fromkeys(free, torch.export.Dim.AUTO)
    examples = tuple(torch.zeros(shape, dtype=element(datatype)) for _ in range(count))
    program = torch.export.export(module, examples, dynamic_shapes=(sizes,) * count)
    torch.export.save(program, file)


class TestTorchScript(BackendContract):
    backend = PyTorchBackend
    runtime_modules = ("torch",)
    cannot: ClassVar = {
        "BYTES": NO_TEXT,
        "types": "TorchScript has Tensor as its only type of tensors",
        "shapes": "TorchScript says no shapes",
        "names": "what a module returns has no names in TorchScript",
    }

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        torch.jit.script(Identity()).save(folder / "model.pt")
        return ModelFiles(("given",), ("OUTPUT__0",))

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        torch.jit.script(SumAndDifference()).save(folder / "model.pt")
        return ModelFiles(("first", "second"), ("OUTPUT__0", "OUTPUT__1"))


class TestExported(BackendContract):
    backend = PyTorchBackend
    runtime_modules = ("torch",)
    model_file = "model.pt2"
    cannot: ClassVar = {"BYTES": NO_TEXT, "names": "what a program returns has no names, unless it is a dict"}

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        export(Identity(), folder / "model.pt2", 1, datatype, dims, batching)
        return ModelFiles(("given",), ("OUTPUT__0",), PT2)

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        export(SumAndDifference(), folder / "model.pt2", 2, "FP32", (4,), batching)
        return ModelFiles(("first", "second"), ("OUTPUT__0", "OUTPUT__1"), PT2)


CODE = """
import torch

class Model(torch.nn.Module):
    def forward(self, {arguments}):
        return {result}
"""


class TestEager(BackendContract):
    backend = PyTorchBackend
    runtime_modules = ("torch",)
    model_file = "model.py"
    cannot: ClassVar = {
        "BYTES": NO_TEXT,
        "types": "a class says nothing of its tensors",
        "shapes": "a class says nothing of its tensors",
        "names": "a class says nothing of its tensors before it is loaded",
        "count": "what a class returns shows when it is executed",
        "cut off": "code that is cut off may be whole code",
    }

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        (folder / "model.py").write_text(CODE.format(arguments="given", result="given"))
        return ModelFiles(("given",), ("OUTPUT__0",), 'default_model_filename: "model.py"')

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        (folder / "model.py").write_text(
            CODE.format(arguments="first, second", result="first + second, first - second")
        )
        return ModelFiles(("first", "second"), ("OUTPUT__0", "OUTPUT__1"), 'default_model_filename: "model.py"')
