"""The models that are counted: each does as its input says, and waits while its gate is closed. For either server."""

from dataclasses import dataclass
from pathlib import Path

from tests.conformance.model_folders import DECOUPLED, write_model

FAILS, RAISES, DIES = -1, -2, -4
"""What a request's first number may be: its response is an error; the execution of its whole batch fails; so does the
process that executes it.
"""

PLAIN = """
import contextlib, os, time
import triton_python_backend_utils as pb_utils

GATE = {gate!r}


def numbers(request):
    return pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()


class TritonPythonModel:
    def execute(self, requests):
        with open(GATE + ".entered", "w"):
            pass
        while os.path.exists(GATE):
            time.sleep(0.002)
        with contextlib.suppress(FileNotFoundError):  # another version has the same gate
            os.unlink(GATE + ".entered")
        first = [numbers(request).flat[0] for request in requests]
        if -4 in first:
            os._exit(3)
        if -2 in first:
            raise ValueError("told to raise")
        return [self.answer(request) for request in requests]

    def answer(self, request):
        if numbers(request).flat[0] == -1:
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError("told to fail"))
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", numbers(request))])
"""
MANY = """
import os, time
import triton_python_backend_utils as pb_utils

GATE = {gate!r}
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            numbers = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy().ravel().tolist()
            sender = request.get_response_sender()
            for place, number in enumerate(numbers):
                last = place == len(numbers) - 1
                if number == 0:  # wait for the gate, or until nobody wants the answer any more
                    while os.path.exists(GATE) and not request.is_cancelled():
                        time.sleep(0.002)
                elif number == -1:
                    error = pb_utils.TritonError("told to fail")
                    sender.send(pb_utils.InferenceResponse([], error=error), flags=FINAL if last else 0)
                elif number == -2:
                    raise ValueError("told to raise")
                elif number == -3:
                    sender.send(flags=FINAL)
                else:
                    time.sleep(0.001)
                    tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
                    answer = pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", tensor.as_numpy())])
                    sender.send(answer, flags=FINAL if last else 0)
"""
ENDS_EMPTY, WAITS = -3, 0
"""Of a decoupled model, whose responses are the request's numbers: the final response is an empty one; go on later."""

_TENSORS = "".join(
    f'{side} [ {{ name: "{side.upper()}0" data_type: TYPE_INT32 dims: [ -1 ] }} ]\n' for side in ("input", "output")
)
_BATCHING = "dynamic_batching { }\n"
_CACHE = "response_cache { enable: true }\n"
_WARMUP = (
    'model_warmup { name: "five" batch_size: 2 count: 5\n'
    ' inputs { key: "INPUT0" value { data_type: TYPE_INT32 dims: [ 1 ] zero_data: true } } }\n'
)
_CONTROLS = "".join(
    f'control_input {{ name: "{name}" control {{ kind: CONTROL_SEQUENCE_{name} int32_false_true: [ 0, 1 ] }} }} '
    for name in ("START", "END", "READY")
)


@dataclass(frozen=True)
class Counted:
    """`more`: what is written of the model beside its tensors. `steps`: of an ensemble, the models, one after the
    other.
    """

    more: str = ""
    size: int = 8
    code: str = PLAIN
    versions: tuple[int, ...] = (1,)
    steps: tuple[str, ...] = ()


COUNTED = {
    "plain": Counted(size=0),
    "versions": Counted("version_policy { all { } }\n", size=0, versions=(1, 3)),
    "sized": Counted(),
    "batched": Counted(_BATCHING),
    "failing": Counted(_BATCHING),
    "many": Counted(DECOUPLED, size=0, code=MANY),
    "many_fail": Counted(DECOUPLED, size=0, code=MANY),
    "many_cancelled": Counted(DECOUPLED, size=0, code=MANY),
    "cached": Counted(_CACHE),
    "full_queue": Counted("dynamic_batching { default_queue_policy { max_queue_size: 1 } }\n", size=1),
    "timed_queue": Counted("dynamic_batching { default_queue_policy { default_timeout_microseconds: 100000 } }\n"),
    "cancelled": Counted(_BATCHING, size=1),
    "door": Counted(_BATCHING),
    "warm": Counted(_BATCHING + _WARMUP),
    "again": Counted(size=0),
    "direct": Counted(f"sequence_batching {{ direct {{ }} {_CONTROLS} }}\n", size=4),
    "oldest": Counted("sequence_batching { oldest { max_candidate_sequences: 4 } }\n", size=4),
    "step": Counted(_BATCHING),
    "step_many": Counted(DECOUPLED, size=0, code=MANY),
    "chain": Counted(steps=("step", "step")),
    "chain_cached": Counted(_CACHE, steps=("step",)),
    "chain_many": Counted(DECOUPLED, size=0, steps=("step_many",)),
}


def gate_of(root: Path, model: str) -> Path:
    """While this file is there, the model's executions wait; one that does makes a file beside it, `.entered`."""
    return root / f"{model}.gate"


def write_counted(root: Path, *, more: str = "") -> Path:
    """All of them; `more` goes into the configuration of each but the ensembles. Returns `root`."""
    for name, model in COUNTED.items():
        gate = str(gate_of(root.parent, name))
        kind = 'platform: "ensemble"\n' if model.steps else f'backend: "python"\n{more}'
        config = f"{kind}max_batch_size: {model.size}\n{_TENSORS}{model.more}{_scheduling(model.steps)}"
        folder = write_model(root, name, config)
        for version in model.versions:
            (folder / str(version)).mkdir(exist_ok=True)
            if not model.steps:
                (folder / str(version) / "model.py").write_text(model.code.format(gate=gate))
    return root


def _scheduling(steps: tuple[str, ...]) -> str:
    if not steps:
        return ""
    names = ["INPUT0", *(f"between{place}" for place in range(1, len(steps))), "OUTPUT0"]
    maps = "".join(
        f'  step {{ model_name: "{step}" model_version: -1 input_map {{ key: "INPUT0" value: "{names[place]}" }}'
        f' output_map {{ key: "OUTPUT0" value: "{names[place + 1]}" }} }}\n'
        for place, step in enumerate(steps)
    )
    return f"ensemble_scheduling {{\n{maps}}}\n"
