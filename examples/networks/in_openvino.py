"""An ONNX file as OpenVINO's own representation."""

from pathlib import Path

import openvino


def save_representation(onnx_file: Path, path: Path) -> None:
    """`path` ends in .xml; the weights, in full precision, go to the .bin beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(openvino.convert_model(onnx_file), path, compress_to_fp16=False)
