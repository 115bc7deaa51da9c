"""Lays out the models of this benchmark: the committed ones, and ONNX files that are written when it runs."""

import shutil
from pathlib import Path

from onnx import TensorProto

from benchmarks.make_models import Network, Port
from benchmarks.servers import parameter_lines

MODELS = Path(__file__).parent / "models"
LIVE_STATE = 16  # FP32 elements of implicit state that each sequence of `with_state` has

_ROWS = (TensorProto.FLOAT, [16])
_TENSORS = """
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""
_BATCHED = 'backend: "onnxruntime"\nmax_batch_size: 64\ninstance_group [ { count: 1 kind: KIND_CPU } ]\n' + _TENSORS
_CONTROLS = """
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ 0, 1 ] } ] }
  ]
"""
_STEP_NAMES = ("first_step", "second_step", "third_step")


def lay_out(target: Path, with_onnx: bool) -> Path:
    """A fresh repository in `target`; without the ONNX models it is one that a Triton with Python alone can serve."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(MODELS, target, ignore=shutil.ignore_patterns("__pycache__"))
    if with_onnx:
        _put_into_threads(target)
        for name in ("one_step", *_STEP_NAMES):
            _write(target / name, _add_one(), _BATCHED + "dynamic_batching { }\n", [("INPUT0", *_ROWS)])
        _write_ensemble(target / "three_steps")
        _write(target / "in_batches", _add_one(), _BATCHED + "dynamic_batching { }\n", [("INPUT0", *_ROWS)])
        controls: list[Port] = [("START", TensorProto.FLOAT, [1]), ("READY", TensorProto.FLOAT, [1])]
        sequences = f"sequence_batching {{ oldest {{ max_candidate_sequences: 64 }} {_CONTROLS} }}\n"
        _write(target / "in_sequence", _add_one(), _BATCHED + sequences, [("INPUT0", *_ROWS), *controls])
    return target


def lay_out_live(target: Path, candidates: int) -> Path:
    """One model, `with_state`, that keeps a sum for each of so many live sequences."""
    net = Network("with_state", seed=0)
    net.add("Add", "INPUT0", "STATE_IN", into="OUTPUT0")
    net.add("Identity", "OUTPUT0", into="STATE_OUT")
    state = f"""
sequence_batching {{
  max_sequence_idle_microseconds: 600000000
  oldest {{ max_candidate_sequences: {candidates} }}
  state [ {{ input_name: "STATE_IN" output_name: "STATE_OUT" data_type: TYPE_FP32 dims: [ {LIVE_STATE} ]
             initial_state: {{ name: "zero" data_type: TYPE_FP32 dims: [ {LIVE_STATE} ] zero_data: true }} }} ]
}}
"""
    folder = target / "with_state"
    (folder / "1").mkdir(parents=True)
    net.save(
        folder / "1" / "model.onnx",
        [("INPUT0", *_ROWS), ("STATE_IN", *_ROWS)],
        [("OUTPUT0", *_ROWS), ("STATE_OUT", *_ROWS)],
    )
    (folder / "config.pbtxt").write_text(_BATCHED + state)
    return target


def _add_one() -> Network:
    import numpy as np

    net = Network("add_one", seed=0)
    net.add("Add", "INPUT0", net.constant(np.ones(1, np.float32)), into="OUTPUT0")
    return net


def _put_into_threads(target: Path) -> None:
    """`two_in_threads`: the same ensemble, its models in threads of the server."""
    text = (target / "two_identities" / "config.pbtxt").read_text()
    for name in ("identity_first", "identity_second"):
        shutil.copytree(target / name, target / f"{name}_thread")
        with (target / f"{name}_thread" / "config.pbtxt").open("a") as config:
            config.writelines(parameter_lines({"isolation": "thread"}))
        text = text.replace(f'"{name}"', f'"{name}_thread"')
    (target / "two_in_threads" / "1").mkdir(parents=True)
    (target / "two_in_threads" / "config.pbtxt").write_text(text)


def _write(folder: Path, net: Network, config: str, inputs: list[Port]) -> None:
    (folder / "1").mkdir(parents=True)
    net.save(folder / "1" / "model.onnx", inputs, [("OUTPUT0", *_ROWS)])
    (folder / "config.pbtxt").write_text(config)


def _write_ensemble(folder: Path) -> None:
    (folder / "1").mkdir(parents=True)
    tensors = ["INPUT0", "after_first", "after_second", "OUTPUT0"]
    steps = ", ".join(
        f'{{ model_name: "{name}" model_version: -1 input_map {{ key: "INPUT0" value: "{before}" }} '
        f'output_map {{ key: "OUTPUT0" value: "{after}" }} }}'
        for name, before, after in zip(_STEP_NAMES, tensors, tensors[1:], strict=False)
    )
    (folder / "config.pbtxt").write_text(
        f'platform: "ensemble"\nmax_batch_size: 64\n{_TENSORS}\nensemble_scheduling {{ step [ {steps} ] }}\n'
    )
