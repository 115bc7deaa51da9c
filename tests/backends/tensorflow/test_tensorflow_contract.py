"""TensorFlow's backend passes the suite that every backend passes."""

from pathlib import Path

from tests.backends.tensorflow.exported import save, tf

from atoll.backends.tensorflow import TensorFlowBackend
from atoll.testing.backend_contract import BackendContract, ModelFiles


def shape_of(dims: tuple[int, ...], batching: bool) -> list[int | None]:
    return [*([None] if batching else []), *(None if dim < 0 else dim for dim in dims)]


class TestTensorFlow(BackendContract):
    backend = TensorFlowBackend
    runtime_modules = ("tensorflow",)
    model_file = "model.savedmodel/saved_model.pb"

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        save(
            folder / "model.savedmodel",
            lambda **fed: {"OUT": tf.identity(fed["IN"])},
            {"IN": (datatype, shape_of(dims, batching))},
        )
        return ModelFiles(("IN",), ("OUT",))

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        specs = {name: ("FP32", shape_of((4,), batching)) for name in "AB"}
        save(folder / "model.savedmodel", lambda A, B: {"SUM": A + B, "DIFFERENCE": A - B}, specs)  # noqa: N803
        return ModelFiles(("A", "B"), ("SUM", "DIFFERENCE"))
