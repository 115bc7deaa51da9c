"""Folders of models that are the same for Atoll and for the real server: Python models and ensembles."""

from pathlib import Path

IDENTITY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.same(request)]) for request in requests]

    def same(self, request):
        return pb_utils.Tensor("OUT", pb_utils.get_input_tensor_by_name(request, "IN").as_numpy())
"""
"""Gives its input IN back as OUT."""

DECOUPLED = "model_transaction_policy { decoupled: true }\n"


def write_model(root: Path, name: str, config: str, code: str = "") -> Path:
    """Version 1 of a model, with the code of a Python model. Returns the model's folder."""
    folder = root / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    if code:
        (folder / "1" / "model.py").write_text(code)
    return folder


def identity_config(
    data_type: str = "FP32", *, size: int = 8, dims: str = "[ -1 ]", more: str = "", output: str = ""
) -> str:
    """Of a Python model from IN to OUT: tensors of one type (FP32, STRING...) and shape.

    `more` is put before them, `output` into the output.
    """
    return (
        f'backend: "python"\nmax_batch_size: {size}\n{more}'
        f'input [ {{ name: "IN" data_type: TYPE_{data_type} dims: {dims} }} ]\n'
        f'output [ {{ name: "OUT" data_type: TYPE_{data_type} dims: {dims} {output} }} ]\n'
    )


def write_identity(root: Path, name: str, data_type: str = "FP32", *, more: str = "") -> Path:
    """A batching model that gives back what it gets."""
    return write_model(root, name, identity_config(data_type, more=more), IDENTITY)
