"""The models that get their tensors by shared memory: the same Python models for Atoll and for the real server."""

from pathlib import Path

from tests.conformance.model_folders import DECOUPLED, write_model

_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(self.same(request)) for request in requests]

    def same(self, request):
        names = [tensor.name() for tensor in request.inputs()]
        tensors = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in sorted(names)]
        return [pb_utils.Tensor(f"OUT{number}", one) for number, one in enumerate(tensors)]
"""

_TWICE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "IN0").as_numpy()
            sender = request.get_response_sender()
            for number in range(2):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT0", values + number)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def write_repository(root: Path) -> Path:
    """`ints`, `texts` and `batched` give their input back, `pair` two of them, `twice` in two responses."""
    _write(root, "ints", "INT32")
    _write(root, "texts", "STRING")
    _write(root, "batched", "INT32", size=8)
    _write(root, "pair", "INT32", tensors=2)
    _write(root, "twice", "INT32", code=_TWICE, more=DECOUPLED)
    return root


def _write(
    root: Path, name: str, data_type: str, *, size: int = 0, tensors: int = 1, code: str = _MODEL, more: str = ""
) -> None:
    sides = "".join(
        f'{side} [ {{ name: "{label}{number}" data_type: TYPE_{data_type} dims: [ -1 ] }} ]\n'
        for side, label in (("input", "IN"), ("output", "OUT"))
        for number in range(tensors)
    )
    write_model(root, name, f'backend: "python"\nmax_batch_size: {size}\n{more}{sides}', code)
