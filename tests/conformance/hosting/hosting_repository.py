"""The models that hosting services' endpoints are asked about, and what SageMaker would have unpacked."""

from pathlib import Path

from tests.conformance.model_folders import IDENTITY, identity_config, write_model

MOODY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        texts = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy().reshape(-1)[0] for request in requests]
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError(text.decode())) for text in texts]
"""
ENSEMBLE = """
name: "ens"
platform: "ensemble"
max_batch_size: 8
input [ { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling { step [
  { model_name: "step" model_version: -1
    input_map { key: "IN" value: "IN" }
    output_map { key: "OUT" value: "OUT" } }
] }
"""


def write_models(root: Path) -> Path:
    """A repository of two models that give back what they get."""
    for name in ("same", "other"):
        _write(root, name)
    return root


def write_archives(root: Path) -> Path:
    """One folder for each model of a multi-model endpoint."""
    for archive, name in (("a", "first"), ("b", "second"), ("c", "third")):
        _write(root / archive, name)
    _write(root / "named", "named", more='name: "named"\n')
    _write(root / "several", "x")
    _write(root / "several", "y")
    _write(root / "broken", "broken", code="raise RuntimeError('broken')")
    _write(root / "large", "large", code="raise RuntimeError('CUDA out of memory')")
    _write(root / "moody", "moody", code=MOODY, kind="STRING")
    _write(root / "ensemble", "step")
    write_model(root / "ensemble", "ens", ENSEMBLE)
    (root / "empty").mkdir()
    return root


def _write(root: Path, name: str, *, code: str = IDENTITY, more: str = "", kind: str = "FP32") -> None:
    write_model(root, name, identity_config(kind, more=more), code)
