"""A small model in the format of each framework, and the server that they are given to."""

import json
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.backends.served import ServerProcess

EXAMPLES = Path(__file__).parents[3] / "examples"
LONGEST_ERROR = 4000  # characters


@dataclass(frozen=True, slots=True)
class ModelFormat:
    """`path`: a whole model, a file or a folder. `text`: what errors call such a file."""

    name: str
    backend: str
    filename: str
    text: str
    path: Path | None = None
    beside: tuple[str, ...] = ()  # files that belong to it, in the same folder
    pixels: tuple[int, ...] = (1, 8, 8)  # of an image, as the model takes it
    unsaid: frozenset[str] = frozenset()  # what the file does not say of the model

    def put(self, folder: Path, filename: str = "") -> Path:
        """A copy in the version's folder, under that name."""
        target = folder / (filename or self.filename)
        if self.path is None:
            target.write_bytes(b"ptrt" + bytes(range(256)) * 40)  # as plans of TensorRT begin
        elif self.path.is_dir():
            shutil.copytree(self.path, target)
        else:
            shutil.copyfile(self.path, target)
            for other in self.beside:
                shutil.copyfile(self.path.parent / other, folder / other)
        return target

    def files(self, folder: Path) -> list[Path]:
        """What `put` has written there."""
        model = folder / self.filename
        inside = sorted(one for one in model.rglob("*") if one.is_file()) if model.is_dir() else [model]
        return [*inside, *(folder / other for other in self.beside)]

    def config(
        self,
        input_type: str = "FP32",
        output_type: str = "FP32",
        pixels: tuple[int, ...] = (),
        classes: int = 10,
        more: str = "",
    ) -> str:
        """A configuration that says all of the model, with what is to be wrong in it."""
        dims = ", ".join(map(str, pixels or self.pixels))
        lines = [
            f'backend: "{self.backend}"',
            "max_batch_size: 8",
            f'input [{{name: "PIXELS", data_type: TYPE_{input_type}, dims: [{dims}]}}]',
            f'output [{{name: "PROBABILITIES", data_type: TYPE_{output_type}, dims: [{classes}]}}]',
            more,
            PRECISION,
        ]
        return "\n".join(lines)


PRECISION = 'parameters [{key: "INFERENCE_PRECISION_HINT", value: {string_value: "f32"}}]'  # of OpenVINO


def _example(name: str, backend: str, filename: str, text: str, **more: Any) -> ModelFormat:
    return ModelFormat(
        name, backend, filename, text, EXAMPLES / "frameworks" / f"digits_{name}" / "1" / filename, **more
    )


_TABLE: Any = {"pixels": (64,), "unsaid": frozenset({"input types"})}  # a tree compares numbers of any type

FORMATS = {
    one.name: one
    for one in (
        ModelFormat(
            "onnx",
            "onnxruntime",
            "model.onnx",
            "an ONNX model",
            EXAMPLES / "models" / "digits_cnn" / "1" / "model.onnx",
        ),
        _example("torchscript", "pytorch", "model.pt", "a TorchScript archive", unsaid=frozenset({"types", "shapes"})),
        _example("torch_export", "pytorch", "model.pt2", "an archive of torch.export"),
        _example("savedmodel", "tensorflow", "model.savedmodel", "a TensorFlow SavedModel"),
        _example("graphdef", "tensorflow", "model.graphdef", "a TensorFlow GraphDef"),
        _example("openvino", "openvino", "model.xml", "an OpenVINO IR (.xml)", beside=("model.bin",)),
        _example("jax", "jax", "model.jax", "an artifact of jax.export"),
        _example("sklearn", "tabular", "model.skops", "a skops archive of scikit-learn", **_TABLE),
        _example("xgboost", "tabular", "xgboost.ubj", "an XGBoost model", **_TABLE),
        _example("lightgbm", "tabular", "model.txt", "a LightGBM model", **_TABLE),
        ModelFormat("tensorrt", "tensorrt", "model.plan", "a TensorRT engine"),
    )
}
BACKENDS = {one.backend: one.filename for one in reversed(FORMATS.values())}  # each with its first format's file


class Frail:
    """A server process that is given files that are wrong, and must survive them."""

    def __init__(self, process: ServerProcess, repository: Path):
        self.process = process
        self.repository = repository
        self._count = 0

    def folder(self) -> tuple[str, Path]:
        """A new model's name, and the folder of its version."""
        self._count += 1
        name = f"model{self._count}"
        folder = self.repository / name / "1"
        folder.mkdir(parents=True)
        return name, folder

    def load(self, name: str) -> str:
        """The error of the load, "" where it succeeds."""
        return self.post(f"/v2/repository/models/{name}/load", {})[1]

    def unload(self, name: str) -> None:
        self.post(f"/v2/repository/models/{name}/unload", {})

    def post(self, path: str, body: Any) -> tuple[Any, str]:
        """The answer, and the error that stands in its place."""
        url = f"http://127.0.0.1:{self.process.port}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read() or b"null"), ""
        except urllib.error.HTTPError as error:
            text: str = json.loads(error.read())["error"]
            return None, text

    def refuses(self, name: str) -> str:
        """The error of a load that must not succeed; it is as long as people read."""
        text = self.load(name)
        assert text, f"{name} was loaded: {[str(one) for one in (self.repository / name).rglob('*')]}"
        assert len(text) < LONGEST_ERROR, f"{len(text)} characters: {text[:300]}"
        return text

    def answer(self, name: str, pixels: Any, datatype: str = "FP32") -> tuple[Any, str]:
        """FP32 [count, 10], or the error in its place. The arrays go as bytes: JSON has neither NaN nor infinity."""
        body: bytes = pixels.tobytes()
        tensor = {
            "name": "PIXELS",
            "datatype": datatype,
            "shape": list(pixels.shape),
            "parameters": {"binary_data_size": len(body)},
        }
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.process.port}/v2/models/{name}/infer",
            head + body,
            {"Inference-Header-Content-Length": str(len(head))},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                size = int(answer.headers["Inference-Header-Content-Length"])
                content = answer.read()
        except urllib.error.HTTPError as error:
            text: str = json.loads(error.read())["error"]
            return None, text
        (output,) = json.loads(content[:size])["outputs"]
        return np.frombuffer(content[size:], np.float32).reshape(output["shape"]), ""

    def serves(self) -> None:
        """The model that was there first still answers."""
        body = {"inputs": [{"name": "NUMBERS", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
        answer, error = self.post("/v2/models/good/infer", body)
        assert not error, error
        assert answer["outputs"][0]["data"] == [2, 4]
