"""OpenVINO's backend passes the suite that every backend passes."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

from atoll.backends.openvino import OpenVinoBackend
from atoll.errors import InvalidArgumentError
from atoll.tensor import BY_PROTOCOL_NAME
from atoll.testing.backend_contract import BackendContract, ModelFiles
from atoll.testing.backend_contract.workshop import Workshop

TYPES = {
    "BOOL": "boolean",
    "FP16": "f16",
    "FP32": "f32",
    "FP64": "f64",
    "BF16": "bf16",
    "BYTES": "string",
    **{f"UINT{bits}": f"u{bits}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
}


def parameter(name: str, datatype: str, dims: tuple[int, ...], batching: bool) -> ov.Node:
    shape = [*([-1] if batching else []), *dims]
    node = op.parameter(shape, getattr(ov.Type, TYPES[datatype]), name=name)
    node.output(0).set_names({name})
    return node


def result(name: str, node: ov.Node) -> ov.Node:
    found = op.result(node, name=name)
    found.output(0).set_names({name})
    return found


def save(folder: Path, results: list[ov.Node], parameters: list[ov.Node]) -> None:
    ov.save_model(ov.Model(results, parameters, "m"), folder / "model.xml", compress_to_fp16=False)


class TestOpenVino(BackendContract):
    backend = OpenVinoBackend
    runtime_modules = ("openvino",)

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        value = parameter("IN", datatype, dims, batching)
        # Directly: what has an operation in between is computed with numbers of 32 bits on a CPU.
        save(folder, [result("OUT", value)], [value])
        return ModelFiles(("IN",), ("OUT",))

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        values = [parameter(name, "FP32", (4,), batching) for name in ("A", "B")]
        save(folder, [result("SUM", op.add(*values)), result("DIFFERENCE", op.subtract(*values))], values)
        return ModelFiles(("A", "B"), ("SUM", "DIFFERENCE"))

    @pytest.mark.parametrize("datatype", BY_PROTOCOL_NAME)
    def test_extreme_values(self, workshop: Workshop, datatype: str) -> None:
        if datatype != "BYTES":
            super().test_extreme_values(workshop, datatype)
            return
        # all but strings that end with a NUL, which OpenVINO's Python interface cannot take
        made = self.identity_model(workshop, datatype)
        sent = np.empty((2, 4), np.object_)
        sent[:] = [[b"", b"a", b"word", "größer, 大きい, 🌊".encode()], [b"a\x00b", b"\xff\xfe", b"", b"x" * 2_000_000]]
        with workshop.instance(made) as instance:
            for batch in (sent, sent[:1], np.full((1, 4), b"", np.object_)):
                found = instance.execute({"IN": batch}, ["OUT"])["OUT"]
                assert found.tolist() == batch.tolist()
                assert all(type(one) is bytes for one in found.ravel())
            with pytest.raises(InvalidArgumentError, match="input 'IN' ends with a NUL byte"):
                instance.execute({"IN": np.array([[b"a\x00", b"", b"", b""]], object)}, ["OUT"])
