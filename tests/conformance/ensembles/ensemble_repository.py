"""Ensembles and the models of their steps, the same for either server: good ones, and one for each mistake."""

from collections.abc import Mapping, Sequence
from pathlib import Path

MODEL = """
import json
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        if "fail" in self.config["parameters"]:
            raise RuntimeError("told to fail")

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensor = pb_utils.get_input_tensor_by_name(request, self.config["input"][0]["name"])
        names = [one["name"] for one in self.config["output"]]
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, tensor.as_numpy()) for name in names])
"""
THREAD = 'parameters { key: "isolation" value { string_value: "thread" } }\n'  # not known to the real server
FAIL = 'parameters { key: "fail" value { string_value: "1" } }\n'
DECOUPLED = "model_transaction_policy { decoupled: true }\n"
OPTIONAL = "optional: true"

Tensor = tuple[str, str, Sequence[int]] | tuple[str, str, Sequence[int], str]
IN: Sequence[Tensor] = (("IN", "FP32", (-1,)),)
OUT: Sequence[Tensor] = (("OUT", "FP32", (-1,)),)
WITH_IN2: Sequence[Tensor] = (*IN, ("IN2", "FP32", (-1,)))
WITH_OPTIONAL: Sequence[Tensor] = (*IN, ("IN2", "FP32", (-1,), OPTIONAL))


def tensors(side: str, given: Sequence[Tensor]) -> str:
    return "".join(
        f'{side} {{ name: "{name}" data_type: TYPE_{kind} dims: {list(dims)} {" ".join(more)} }}\n'
        for name, kind, dims, *more in given
    )


def step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str], version: int = -1) -> str:
    maps = "".join(
        f' {kind} {{ key: "{key}" value: "{value}" }}'
        for kind, one in (("input_map", inputs), ("output_map", outputs))
        for key, value in one.items()
    )
    return f'  step {{ model_name: "{model}" model_version: {version}{maps} }}\n'


def one(model: str, version: int = -1) -> list[str]:
    """The steps of an ensemble of one model."""
    return [step(model, {"IN": "IN"}, {"OUT": "OUT"}, version)]


def two(first: str, second: str) -> list[str]:
    """The steps of an ensemble of two, one after the other."""
    return [step(first, {"IN": "IN"}, {"OUT": "mid"}), step(second, {"IN": "mid"}, {"OUT": "OUT"})]


def write_step(
    root: Path,
    name: str,
    inputs: Sequence[Tensor] = IN,
    outputs: Sequence[Tensor] = OUT,
    *,
    size: int = 8,
    more: str = "",
    versions: Sequence[int] = (1,),
) -> None:
    """A model that answers with its first input."""
    for version in versions:
        (root / name / str(version)).mkdir(parents=True, exist_ok=True)
        (root / name / str(version) / "model.py").write_text(MODEL)
    text = f'backend: "python"\nmax_batch_size: {size}\n{tensors("input", inputs)}{tensors("output", outputs)}{more}'
    (root / name / "config.pbtxt").write_text(text + THREAD)


def write_ensemble(
    root: Path,
    name: str,
    steps: Sequence[str],
    inputs: Sequence[Tensor] = IN,
    outputs: Sequence[Tensor] = OUT,
    *,
    size: int = 8,
    more: str = "",
    versions: Sequence[int] = (1,),
) -> None:
    """An ensemble with empty version folders."""
    (root / name).mkdir(parents=True, exist_ok=True)
    for version in versions:
        (root / name / str(version)).mkdir(exist_ok=True)
    text = f'platform: "ensemble"\nmax_batch_size: {size}\n{tensors("input", inputs)}{tensors("output", outputs)}'
    (root / name / "config.pbtxt").write_text(f"{text}ensemble_scheduling {{\n{''.join(steps)}}}\n{more}")


def write_steps(root: Path) -> None:
    """The models that the ensembles below have steps of."""
    for name in ("a", "b"):
        write_step(root, name)
    write_step(root, "two_inputs", WITH_IN2)
    write_step(root, "optional_input", WITH_OPTIONAL)
    write_step(root, "integers", (("IN", "INT32", (-1,)),), (("OUT", "INT32", (-1,)),))
    write_step(root, "four", (("IN", "FP32", (4,)),), (("OUT", "FP32", (4,)),))
    write_step(root, "five", (("IN", "FP32", (5,)),), (("OUT", "FP32", (5,)),))
    write_step(root, "unbatched", size=0)
    write_step(root, "batch_of_4", size=4)
    write_step(root, "newest_only", versions=(1, 2))
    write_step(root, "streaming", more=DECOUPLED)
    write_step(root, "failing", more=FAIL)
    write_step(root, "reshaped", (("IN", "FP32", (4,), "reshape { shape: [ 2, 2 ] }"),))
    write_step(root, "labelled", (("IN", "FP32", (3,)),), (("OUT", "FP32", (3,), 'label_filename: "labels.txt"'),))
    (root / "labelled" / "labels.txt").write_text("cat\ndog\nfish\n")


THREE_IN: Sequence[Tensor] = (("IN", "FP32", (3,)),)
THREE_OUT: Sequence[Tensor] = (("OUT", "FP32", (3,)),)


def write_good(root: Path) -> None:
    """Ensembles that are in order."""
    write_ensemble(root, "chain", two("a", "b"))
    write_ensemble(root, "nested", two("chain", "a"))
    write_ensemble(
        root, "versions", one("a"), versions=(1, 2, 3), more="version_policy { specific { versions: [1, 3] } }"
    )
    write_ensemble(root, "of_streaming", one("streaming"))
    write_ensemble(root, "says_decoupled", one("a"), more=DECOUPLED)
    write_ensemble(root, "optional_left_out", one("optional_input"))
    write_ensemble(
        root, "optional_passed_on", [step("optional_input", {"IN": "IN", "IN2": "IN2"}, {"OUT": "OUT"})], WITH_OPTIONAL
    )
    write_ensemble(root, "smaller_batches", one("batch_of_4"), size=2)
    write_ensemble(root, "batched_of_unbatched", one("unbatched"))
    write_ensemble(root, "unbatched_of_batched", one("a"), size=0)
    write_ensemble(root, "any_size_to_four", one("four"))
    write_ensemble(root, "through_any_size", two("a", "five"), (("IN", "FP32", (7,)),))
    write_ensemble(root, "of_reshaped", one("reshaped"), (("IN", "FP32", (4,)),))
    write_ensemble(root, "twice_the_same", two("a", "a"))
    write_ensemble(root, "of_labelled", one("labelled"), THREE_IN, THREE_OUT)
    write_ensemble(root, "of_of_labelled", one("of_labelled"), THREE_IN, THREE_OUT)
    own = (("OUT", "FP32", (3,), 'label_filename: "own.txt"'),)
    write_ensemble(root, "own_labels", one("labelled"), THREE_IN, own)
    (root / "own_labels" / "own.txt").write_text("one\ntwo\nthree\n")


GOOD = (
    *("chain", "nested", "versions", "of_streaming", "says_decoupled", "optional_left_out", "optional_passed_on"),
    *("smaller_batches", "batched_of_unbatched", "unbatched_of_batched", "any_size_to_four", "through_any_size"),
    *("of_reshaped", "twice_the_same", "of_labelled", "of_of_labelled", "own_labels"),
)


def write_broken(root: Path) -> list[str]:
    """Ensembles with one thing wrong each; returns their names."""
    b = step("b", {"IN": "IN"}, {"OUT": "OUT"})

    def write(name: str, steps: Sequence[str], *tensors_of: Sequence[Tensor], more: str = "", size: int = 8) -> None:
        write_ensemble(root, name, steps, *tensors_of, more=more, size=size)
        names.append(name)

    names: list[str] = []
    write("no_steps", [])
    write(
        "no_model",
        ['step { model_version: -1 input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" } }'],
    )
    write("no_maps", ['step { model_name: "a" model_version: -1 }'])
    write("groups", one("a"), more="instance_group { count: 1 }")
    write("optimized", one("a"), more="optimization { priority: PRIORITY_MAX }")
    sample = 'inputs { key: "IN" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } }'
    write("warmed", one("a"), more=f'model_warmup {{ name: "w" batch_size: 1 {sample} }}')
    write("negative_size", one("a"), size=-1)
    write("made_twice", [*one("a"), b])
    write("input_nobody_takes", one("a"), WITH_IN2)
    write("output_nobody_makes", one("a"), IN, (*OUT, ("OUT2", "FP32", (-1,))))
    write("tensor_nobody_takes", [*one("a"), step("b", {"IN": "IN"}, {"OUT": "left"})])
    write("tensor_nobody_makes", [step("a", {"IN": "nowhere"}, {"OUT": "x"}), b])
    write("nothing_to_begin_with", [step("a", {"IN": "mid"}, {"OUT": "OUT"})], ())
    write(
        "steps_in_a_circle",
        [
            step("two_inputs", {"IN": "IN", "IN2": "x"}, {"OUT": "y"}),
            step("a", {"IN": "y"}, {"OUT": "x"}),
            step("b", {"IN": "x"}, {"OUT": "OUT"}),
        ],
    )
    write("itself", one("itself"))
    write("circle_1", one("circle_2"))
    write("circle_2", one("circle_1"))
    write("of_nobody", one("nobody"))
    write("of_failing", one("failing"))
    write("of_of_failing", one("of_failing"))
    write("of_version_7", one("a", 7))
    write("of_version_0", one("a", 0))
    write("of_version_not_served", one("newest_only", 1))
    write("unknown_input", [step("a", {"INX": "IN"}, {"OUT": "OUT"})])
    write("unknown_output", [step("a", {"IN": "IN"}, {"OUTX": "OUT"})])
    write("required_left_out", one("two_inputs"))
    write("type_of_input", one("a"), (("IN", "INT32", (-1,)),))
    write("type_of_output", one("a"), IN, (("OUT", "INT32", (-1,)),))
    write("type_between", two("a", "integers"), IN, (("OUT", "INT32", (-1,)),))
    write("shape_of_input", one("four"), (("IN", "FP32", (5,)),), (("OUT", "FP32", (4,)),))
    write("shape_between", two("four", "five"))
    write("rank_of_input", one("four"), (("IN", "FP32", (4, 4)),))
    write("larger_batches", one("batch_of_4"))
    write("reshaped_to_other", one("a"), (("IN", "FP32", (4,), "reshape { shape: [ 2, 2 ] }"),))
    write("cached_of_streaming", one("streaming"), more="response_cache { enable: true }")
    write("labels_not_there", one("labelled"), THREE_IN, (("OUT", "FP32", (3,), 'label_filename: "nope.txt"'),))
    write_ensemble(root, "no_version", one("a"), versions=())
    return [*names, "no_version"]
