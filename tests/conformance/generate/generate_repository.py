"""The models that are asked to generate: the same Python models for Atoll and for the real server."""

from collections.abc import Sequence
from pathlib import Path

from tests.conformance.model_folders import DECOUPLED, write_model

SEEN = '''
import json

import numpy as np
import triton_python_backend_utils as pb_utils


def look(request):
    """What the model is given."""
    inputs = {}
    for tensor in request.inputs():
        array = tensor.as_numpy()
        values = [one.decode("latin-1") if isinstance(one, bytes) else repr(one) for one in array.ravel().tolist()]
        inputs[tensor.name()] = [str(array.dtype), list(array.shape), values]
    return {
        "inputs": dict(sorted(inputs.items())),
        "parameters": json.loads(request.parameters() or "{}"),
        "id": request.request_id(),
        "correlation": request.correlation_id(),
        "flags": request.flags(),
        "outputs": sorted(request.requested_output_names()),
    }


class TritonPythonModel:
    def initialize(self, args):
        self.batching = json.loads(args["model_config"])["max_batch_size"] > 0

    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        text = json.dumps(look(request), sort_keys=True).encode()
        value = np.array([[text]] if self.batching else [text], np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", value)])
'''
"""Answers with all that it can see of its request."""

TOLD = """
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.decoupled = config.get("model_transaction_policy", {}).get("decoupled", False)
        self.kinds = {one["name"]: one["data_type"] for one in config["output"]}

    def execute(self, requests):
        responses = []
        for request in requests:
            steps = json.loads(pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy().ravel()[0])
            if not self.decoupled:
                responses.append(self.response(steps[0]))
                continue
            sender = request.get_response_sender()
            for step in steps[:-1]:
                sender.send(self.response(step))
            if steps[-1] is None:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            else:
                sender.send(self.response(steps[-1]), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None if self.decoupled else responses

    def response(self, step):
        if isinstance(step, str):
            code, _, text = step.rpartition(":")
            codes = [getattr(pb_utils.TritonError, code)] if code else []
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(text, *codes))
        return pb_utils.InferenceResponse([self.tensor(name, values) for name, values in step.items()])

    def tensor(self, name, values):
        if self.kinds[name] == "TYPE_STRING":
            array = np.array(values, np.object_)
            encoded = [one.encode("latin-1") for one in array.ravel()]
            flat = np.empty(len(encoded), np.object_)
            flat[:] = encoded
            return pb_utils.Tensor(name, flat.reshape(array.shape))
        kind = np.float32 if self.kinds[name] == "TYPE_BF16" else pb_utils.triton_string_to_numpy(self.kinds[name])
        return pb_utils.Tensor(name, np.array([float(one) for one in values]).astype(kind) if "FP" in self.kinds[name]
                               else np.array(values, kind))
"""
"""Answers what `text_input` says: a list of responses, each its outputs or an error; null: no more of them.

An error is its text, after its code and a colon if it has one.
"""

PACED = """
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            folder = Path(pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode())
            sender = request.get_response_sender()
            number = 0
            while not (folder / "end").exists() and not request.is_cancelled():
                if (folder / str(number)).exists():
                    output = pb_utils.Tensor("text_output", np.array([str(number)], np.object_))
                    sender.send(pb_utils.InferenceResponse([output]))
                    number += 1
                else:
                    (folder / f"waits for {number}").touch()
                    time.sleep(0.005)
            if request.is_cancelled():
                (folder / "cancelled").touch()
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
"""Sends the next response when a file of its number is in the folder that `text_input` names; a file `end` ends it."""

KINDS = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "STRING"),
)
SHAPES = {"SIX": [2, 3], "PAIRS": [-1, 2], "ROWS": [2, -1], "ANY": [-1, -1], "ONE": [1]}
ODD = ("id", "parameters", "stream", "model_name")
TEXT = [("text_input", "STRING", [1])]
ANSWERS = [(kind, kind, [-1]) for kind in KINDS] + [("CUBE", "INT32", [-1, -1, -1]), ("text_output", "STRING", [-1])]

SEQUENCE = "sequence_batching { max_sequence_idle_microseconds: 600000000 }\n"
ENSEMBLE = """
platform: "ensemble"
input [ { name: "prompt" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_STRING dims: [ 1 ] } ]
ensemble_scheduling { step [
  { model_name: "text" model_version: -1
    input_map { key: "text_input" value: "prompt" }
    output_map { key: "SEEN" value: "OUTPUT" } }
] }
"""

Tensors = Sequence[tuple[str, str, Sequence[int]]]


def write_repository(root: Path) -> Path:
    """Returns `root`."""
    seen = [("SEEN", "STRING", [1])]
    kinds = [(kind, kind, [-1]) for kind in (*KINDS, "BF16")]
    _write(root, "kinds", kinds, seen, optional=True)
    _write(root, "text", TEXT, seen)
    _write(root, "batching", TEXT, seen, size=8)
    _write(root, "shapes", [(name, "INT32", dims) for name, dims in SHAPES.items()], seen, optional=True)
    _write(root, "shapes_batching", [(name, "INT32", dims) for name, dims in SHAPES.items()], seen, 8, optional=True)
    _write(root, "odd", [(name, "STRING", [1]) for name in ODD], seen, optional=True)
    _write(root, "sequence", TEXT, seen, 8, more=SEQUENCE)
    _write(root, "told", TEXT, ANSWERS, code=TOLD)
    _write(root, "told_batching", TEXT, [("text_output", "STRING", [-1])], 8, code=TOLD)
    _write(root, "told_odd", TEXT, [(name, "STRING", [1]) for name in (*ODD, "model_version")], code=TOLD)
    _write(root, "told_many", TEXT, ANSWERS, code=TOLD, more=DECOUPLED)
    _write(root, "paced", TEXT, [("text_output", "STRING", [1])], code=PACED, more=DECOUPLED)
    for name, output in (("ensemble", "seen"), ("ensemble_odd", "sequence_id")):
        write_model(root, name, ENSEMBLE.replace("OUTPUT", output))
    return root


def _write(
    root: Path,
    name: str,
    inputs: Tensors,
    outputs: Tensors,
    size: int = 0,
    *,
    code: str = SEEN,
    optional: bool = False,
    more: str = "",
) -> None:
    tensors = [_tensor("input", one, "optional: true" if optional else "") for one in inputs]
    tensors += [_tensor("output", one) for one in outputs]
    text = f'backend: "python"\nmax_batch_size: {size}\n{more}' + "".join(tensors)
    write_model(root, name, text, code)


def _tensor(kind: str, tensor: tuple[str, str, Sequence[int]], more: str = "") -> str:
    name, data_type, dims = tensor
    return f'{kind} [ {{ name: "{name}" data_type: TYPE_{data_type} dims: {list(dims)} {more} }} ]\n'
