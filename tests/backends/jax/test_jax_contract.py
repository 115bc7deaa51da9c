"""JAX's backend passes the suite that every backend passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.backends.jax import JaxBackend
from atoll.testing.backend_contract import BackendContract, ModelFiles

JAX_NAMES = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BF16": "bfloat16"}


def write(
    folder: Path, function: Callable[..., Any], count: int, datatype: str, dims: tuple[int, ...], batching: bool
) -> None:
    """An artifact of a function with so many arguments, all of one type and shape."""
    import jax
    from jax import export

    text = ", ".join(
        [*(["batch"] if batching else []), *(f"d{i}" if dim < 0 else str(dim) for i, dim in enumerate(dims))]
    )
    with jax.enable_x64(True):
        shape = export.symbolic_shape(text)
        spec = jax.ShapeDtypeStruct(shape, JAX_NAMES.get(datatype, datatype.lower()))
        exported = export.export(jax.jit(function))(*[spec] * count)
    (folder / "model.jax").write_bytes(exported.serialize())


class TestJax(BackendContract):
    backend = JaxBackend
    runtime_modules = ("jax",)
    cannot = {
        "BYTES": "JAX has no strings",
        "zero size": "a dimension of any size is at least 1 in jax.export; batches without rows have their own test",
    }

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        write(folder, lambda x: x, 1, datatype, dims, batching)
        return ModelFiles(("INPUT__0",), ("OUTPUT__0",))

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        write(folder, lambda a, b: (a + b, a - b), 2, "FP32", (4,), batching)
        return ModelFiles(("INPUT__0", "INPUT__1"), ("OUTPUT__0", "OUTPUT__1"))
