"""The models that the conformance tests ask about: alike for Atoll (in ONNX) and the real server (in Python)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.onnx_models import failing_model, identity_model, sum_and_difference_model

DATA_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "fp16": "TYPE_FP16",
    "fp32": "TYPE_FP32",
    "fp64": "TYPE_FP64",
    "bytes": "TYPE_STRING",
    "bf16": "TYPE_BF16",
}

PYTHON_MODEL = """
import triton_python_backend_utils as pb_utils

KIND = "{kind}"


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        if KIND == "failing":
            return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError("told to fail"))
        tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
        if KIND == "sum":
            a = tensor.as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
            results = {{"OUTPUT0": a + b, "OUTPUT1": a - b}}
            wanted = request.requested_output_names()
            outputs = [pb_utils.Tensor(name, value) for name, value in results.items() if name in wanted]
        elif KIND == "bf16":
            outputs = [pb_utils.Tensor.from_dlpack("OUTPUT0", tensor.to_dlpack())]
        else:
            outputs = [pb_utils.Tensor("OUTPUT0", tensor.as_numpy())]
        return pb_utils.InferenceResponse(outputs)
"""


@dataclass(frozen=True)
class Model:
    """One model: its configuration without the backend's line, and how to make it for either server."""

    name: str
    config: str
    kind: str
    onnx: Callable[[], bytes]
    versions: tuple[str, ...] = ("1",)


def models() -> list[Model]:
    """All of them, in alphabetical order."""
    every = [
        Model(
            "simple",
            "max_batch_size: 8\ndynamic_batching { }\n" + _sum_tensors([16]),
            "sum",
            lambda: sum_and_difference_model(["batch", 16]),
        ),
        Model(
            "simple_nobatch",
            "max_batch_size: 0\n" + _sum_tensors([-1, 16]),
            "sum",
            lambda: sum_and_difference_model(["rows", 16]),
        ),
        Model(
            "two_versions",
            "max_batch_size: 0\nversion_policy { all { } }\n" + _tensors("TYPE_FP32", [16]),
            "identity",
            lambda: identity_model("fp32", [16]),
            ("1", "3"),
        ),
        Model(
            "matrix",
            "max_batch_size: 0\n" + _tensors("TYPE_FP32", [2, 3]),
            "identity",
            lambda: identity_model("fp32", [2, 3]),
        ),
        Model("failing", "max_batch_size: 0\n" + _tensors("TYPE_INT32", [2]), "failing", lambda: failing_model(2)),
        Model(
            "preferred",
            "max_batch_size: 8\ndynamic_batching { preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 100 }\n"
            + _tensors("TYPE_INT32", [1]),
            "identity",
            lambda: identity_model("int32", ["batch", 1]),
        ),
        *(_identity(name, data_type) for name, data_type in DATA_TYPES.items()),
    ]
    return sorted(every, key=lambda model: model.name)


def write_onnx_repository(root: Path, *names: str) -> Path:
    """The models (all, or those named) as an ONNX repository; returns `root`."""
    for model in models():
        if not names or model.name in names:
            data = model.onnx()
            _write(root, model, 'backend: "onnxruntime"\n', "model.onnx", data)
    return root


def write_python_repository(root: Path, *names: str) -> Path:
    """The same for the Python backend of the real server."""
    for model in models():
        if not names or model.name in names:
            kind = "bf16" if model.name == "identity_bf16" else model.kind
            _write(root, model, 'backend: "python"\n', "model.py", PYTHON_MODEL.format(kind=kind).encode())
    return root


def _identity(name: str, data_type: str) -> Model:
    config = "max_batch_size: 8\n" + _tensors(data_type, [-1])
    return Model(f"identity_{name}", config, "identity", lambda: identity_model(name, ["batch", "length"]))


def _write(root: Path, model: Model, backend: str, file_name: str, data: bytes) -> None:
    group = "instance_group [ { kind: KIND_CPU count: 1 } ]\n"
    for version in model.versions:
        (root / model.name / version).mkdir(parents=True)
        (root / model.name / version / file_name).write_bytes(data)
    (root / model.name / "config.pbtxt").write_text(f'name: "{model.name}"\n{backend}{model.config}{group}')


def _tensors(data_type: str, dims: list[int]) -> str:
    return _tensor("input", "INPUT0", data_type, dims) + _tensor("output", "OUTPUT0", data_type, dims)


def _sum_tensors(dims: list[int]) -> str:
    return "".join(
        _tensor(side, f"{side.upper()}{number}", "TYPE_INT32", dims)
        for side in ("input", "output")
        for number in (0, 1)
    )


def _tensor(side: str, name: str, data_type: str, dims: list[int]) -> str:
    return f'{side} [ {{ name: "{name}" data_type: {data_type} dims: [ {", ".join(map(str, dims))} ] }} ]\n'
