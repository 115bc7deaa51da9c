"""The models whose outputs are classified: the same Python models for Atoll and for the real server."""

from pathlib import Path

from tests.conformance.model_folders import DECOUPLED, identity_config, write_model

DATA_TYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BF16", "STRING"),
)

MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.same(request)]) for request in requests]

    def same(self, request):
        tensor = pb_utils.get_input_tensor_by_name(request, "IN")
        if KIND == "BF16":
            return pb_utils.Tensor.from_dlpack("OUT", tensor.to_dlpack())
        return pb_utils.Tensor("OUT", tensor.as_numpy())
"""

TWO = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            sender = request.get_response_sender()
            for number in range(2):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", values + number)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""

ENSEMBLE = """
name: "ensemble"
platform: "ensemble"
max_batch_size: 8
input [ { name: "FROM" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "TO" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling { step [
  { model_name: "of_fp32" model_version: -1
    input_map { key: "IN" value: "FROM" }
    output_map { key: "OUT" value: "TO" } }
] }
"""


def write_repository(root: Path) -> Path:
    """Models that give their input back; `of_TYPE` have labels for the first and the third class. Returns `root`."""
    for data_type in DATA_TYPES:
        _write(root, f"of_{data_type.lower()}", data_type, labels=b"cat\n\ndog\n")
    _write(root, "unbatched", dims="[ -1 ]", size=0)
    _write(root, "plane", dims="[ -1, -1 ]", size=0, labels=b"a\nb\n")
    _write(root, "cube", dims="[ 2, 3 ]", labels=b"a:b\n c \nd\r\n\xff\xc3\ne\n")
    _write(root, "decoupled", labels=b"cat\nfish\ndog\n", code=TWO, more=DECOUPLED)
    write_model(root, "ensemble", ENSEMBLE)
    return root


def _write(
    root: Path,
    name: str,
    data_type: str = "FP32",
    *,
    dims: str = "[ -1 ]",
    size: int = 8,
    labels: bytes | None = None,
    code: str = MODEL,
    more: str = "",
) -> None:
    file = "" if labels is None else 'label_filename: "labels.txt"'
    config = identity_config(data_type, size=size, dims=dims, more=more, output=file)
    folder = write_model(root, name, config, f'KIND = "{data_type}"\n{code}')
    if labels is not None:
        (folder / "labels.txt").write_bytes(labels)
