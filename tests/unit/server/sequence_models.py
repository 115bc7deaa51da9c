"""Models whose requests are parts of sequences, made node by node, and a client of theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from atoll import Server
from atoll.request import InferenceResponse, Parameter

FLOAT, STRING = TensorProto.FLOAT, TensorProto.STRING
Shape = list[int | str]
Value = tuple[str, int, Shape]

STATE = 'input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_FP32 dims: [1]'
CONTROLS = """
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START %(pair)s } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END %(pair)s } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY %(pair)s } ] },
    { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: %(id)s } ] }
  ]
"""


def onnx_model(nodes: Sequence[NodeProto], inputs: Sequence[Value], outputs: Sequence[Value]) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "sequence",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
    )
    opset = [helper.make_opsetid("", 18)]
    data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return data


def accumulator(batched: bool = True) -> bytes:
    """OUT = S_OUT = IN + S_IN, all FP32 of one element."""
    shape: Shape = ["n", 1] if batched else [1]
    return onnx_model(
        [helper.make_node("Add", ["IN", "S_IN"], ["OUT"]), helper.make_node("Identity", ["OUT"], ["S_OUT"])],
        [("IN", FLOAT, shape), ("S_IN", FLOAT, shape)],
        [("OUT", FLOAT, shape), ("S_OUT", FLOAT, shape)],
    )


def history() -> bytes:
    """S_OUT = S_IN with IN behind it; OUT = its sum."""
    return onnx_model(
        [
            helper.make_node("Concat", ["S_IN", "IN"], ["S_OUT"], axis=1),
            helper.make_node("Constant", [], ["axes"], value_ints=[1]),
            helper.make_node("ReduceSum", ["S_OUT", "axes"], ["OUT"], keepdims=1),
        ],
        [("IN", FLOAT, ["n", 1]), ("S_IN", FLOAT, ["n", "length"])],
        [("OUT", FLOAT, ["n", 1]), ("S_OUT", FLOAT, ["n", "longer"])],
    )


def previous_text() -> bytes:
    """OUT = S_IN, S_OUT = IN, strings of one element."""
    shape: Shape = ["n", 1]
    return onnx_model(
        [helper.make_node("Identity", ["S_IN"], ["OUT"]), helper.make_node("Identity", ["IN"], ["S_OUT"])],
        [("IN", STRING, shape), ("S_IN", STRING, shape)],
        [("OUT", STRING, shape), ("S_OUT", STRING, shape)],
    )


def previous_bf16() -> bytes:
    """OUT = S_IN, S_OUT = IN, the states BF16, the others FP32 of one element."""
    shape: Shape = ["n", 1]
    bf16 = TensorProto.BFLOAT16
    return onnx_model(
        [
            helper.make_node("Cast", ["S_IN"], ["OUT"], to=FLOAT),
            helper.make_node("Cast", ["IN"], ["C"], to=bf16),
            helper.make_node("Identity", ["C"], ["S_OUT"]),
        ],
        [("IN", FLOAT, shape), ("S_IN", bf16, shape)],
        [("OUT", FLOAT, shape), ("S_OUT", bf16, shape)],
    )


def shown_controls(element: int, id_element: int, batched: bool = True) -> bytes:
    """SEEN = IN, START, END, READY as FP32 behind each other; ID = CORRID."""
    shape: Shape = ["n", 1] if batched else [1]
    names = ("START", "END", "READY")
    casts = [helper.make_node("Cast", [name], [f"{name}_F"], to=FLOAT) for name in names]
    return onnx_model(
        [
            *casts,
            helper.make_node("Concat", ["IN", "START_F", "END_F", "READY_F"], ["SEEN"], axis=-1),
            helper.make_node("Identity", ["CORRID"], ["ID"]),
        ],
        [("IN", FLOAT, shape), *[(name, element, shape) for name in names], ("CORRID", id_element, shape)],
        [("SEEN", FLOAT, ["n", 4] if batched else [4]), ("ID", id_element, shape)],
    )


def write_sequence_model(
    repository: Path, name: str, model: bytes | str, batching: str, *, rest: str = "", max_batch_size: int = 4
) -> Path:
    """`model`: ONNX, or a Python model's code. `batching`: what stands in sequence_batching. Its folder."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    if isinstance(model, str):
        (folder / "model.py").write_text(model)
    else:
        (folder / "model.onnx").write_bytes(model)
    backend = "python" if isinstance(model, str) else "onnxruntime"
    (folder.parent / "config.pbtxt").write_text(
        f'backend: "{backend}"\nmax_batch_size: {max_batch_size}\n{rest}\n'
        f"sequence_batching {{ max_sequence_idle_microseconds: 60000000\n{batching} }}\n"
    )
    return folder.parent


def ask(
    server: Server, model: str, id: int | str, value: Any, *, start: bool = False, end: bool = False, **more: Any
) -> InferenceResponse:
    """One request of a sequence; `value` is its IN, a number or a text."""
    kind = np.dtype(object) if isinstance(value, (str, bytes)) else np.dtype(np.float32)
    array = np.array([value] if more.pop("flat", False) else [[value]], kind)
    parameters: dict[str, Parameter] = {"sequence_id": id, "sequence_start": start, "sequence_end": end}
    return server.infer(model, {"IN": array}, parameters=parameters, timeout=60, **more)
