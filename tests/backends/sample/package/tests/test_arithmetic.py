import json
from typing import ClassVar

from atoll_arithmetic import ArithmeticBackend

from atoll.testing.backend_contract import BackendContract, ModelFiles


def write(folder, datatype, dims, batching, inputs, outputs):
    shape = [-1, *dims] if batching else list(dims)
    document = {"datatype": datatype, "shape": shape, "inputs": inputs, "outputs": outputs}
    (folder / "model.arithmetic").write_text(json.dumps(document))
    return ModelFiles(inputs=tuple(inputs), outputs=tuple(outputs))


class TestArithmetic(BackendContract):
    backend = ArithmeticBackend
    cannot: ClassVar = {"UINT64": "left out here to show how: each reason appears where pytest lists what it skipped"}

    def identity(self, folder, datatype, dims, batching):
        return write(folder, datatype, dims, batching, ["IN"], {"OUT": ["copy", "IN"]})

    def sum_and_difference(self, folder, batching):
        outputs = {"SUM": ["add", "A", "B"], "DIFFERENCE": ["subtract", "A", "B"]}
        return write(folder, "FP32", (4,), batching, ["A", "B"], outputs)
