"""What the demo makes of the frameworks' answers, and the description that their files are written from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from examples import catalogue, comparison
from examples.networks.description import read_network
from onnx import TensorProto, helper

EXAMPLES = Path(__file__).parents[3] / "examples"
LABELS = np.arange(10)
RIGHT = np.eye(10, dtype=np.float32)
STATED = {"net": {"correct": 10}, "trees": {"correct": 8}}
NET = comparison.row("net", "ONNX Runtime", "net", {"net": RIGHT}, LABELS)


def test_the_same_answers_agree() -> None:
    same = comparison.row("other", "JAX", "net", {"net": RIGHT, "other": RIGHT + np.float32(1e-6)}, LABELS)
    assert (same.correct, same.count) == (10, 10)
    assert same.difference == pytest.approx(1e-6, rel=0.1)
    assert comparison.disagreements([NET, same], STATED) == []


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_probabilities_that_differ_are_named(difference: float) -> None:
    (line,) = comparison.disagreements([NET, replace(NET, model="other", difference=difference)], STATED)
    assert line == f"other differs from net by {difference:.1e}; 0.0001 is allowed"


def test_another_count_of_right_answers_is_named() -> None:
    wrong = replace(NET, model="other", correct=9)
    assert comparison.disagreements([NET, wrong], STATED) == ["other has 9 digits right, net 10"]


def test_what_has_no_equal_is_held_to_its_stated_accuracy() -> None:
    trees = replace(NET, model="trees", weights_of="", correct=7)
    assert comparison.disagreements([NET, trees], STATED) == []
    (line,) = comparison.disagreements([NET, replace(trees, correct=6)], STATED)
    assert line == "trees has 6 digits right; accuracy.json says 8"


def test_the_table_has_a_line_for_each() -> None:
    rows = [
        NET,
        replace(NET, model="other", framework="JAX", difference=3e-7),
        replace(NET, model="trees", weights_of=""),
    ]
    lines = [" ".join(line.split()) for line in comparison.table(rows).splitlines()]
    assert lines[0] == "model framework correct largest difference"
    assert lines[2:] == [
        "net ONNX Runtime 10 of 10 the reference",
        "other JAX 10 of 10 3.0e-07 from net",
        "trees ONNX Runtime 10 of 10 trees, with no weights to share",
    ]


def test_the_catalogue_is_what_is_in_the_repositories() -> None:
    assert {one.name for one in catalogue.OTHERS} == {path.name for path in (EXAMPLES / "frameworks").iterdir()}
    stated = json.loads((EXAMPLES / "accuracy.json").read_text())
    assert set(stated) == {
        one.name for one in (*catalogue.REFERENCES, *catalogue.OTHERS) if one.weights_of in ("", one.name)
    }
    for one in catalogue.REFERENCES:
        assert (EXAMPLES / "models" / one.name).is_dir()


def test_the_readme_has_a_line_for_each_model() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    for one in catalogue.OTHERS:
        (line,) = [line for line in readme.splitlines() if line.startswith(f"| `{one.name}` | {one.framework}")]
        assert f"| `{one.weights_of}` |" in line or (one.weights_of == "" and "| its own trees |" in line)
        assert f"`{one.extra}" in line
        configured = (EXAMPLES / "frameworks" / one.name / "config.pbtxt").exists()
        assert line.endswith("| none |") != configured
    for name, figures in json.loads((EXAMPLES / "accuracy.json").read_text()).items():
        accuracy = f"{figures['accuracy']:.2%}".replace("%", " %")
        assert f"| `{name}` | {figures['correct']} of {figures['held_back']} | {accuracy} |" in readme


def test_what_is_missing_is_said_with_its_command() -> None:
    missing = [one for one in catalogue.OTHERS if one.extra in ("pytorch", "tabular")]
    assert catalogue.left_out_line(missing) == (
        "Not installed here: PyTorch, scikit-learn, XGBoost, LightGBM. "
        "To serve them too:  pip install 'atoll[pytorch,tabular]'"
    )
    assert not replace(missing[0], modules=("no_such_framework",)).installed
    assert replace(missing[0], modules=("json",)).installed


def test_the_files_are_small() -> None:
    files = [path for path in (EXAMPLES / "frameworks").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert max(path.stat().st_size for path in files) < 150_000
    assert sum(path.stat().st_size for path in files) < 1_000_000


def test_a_net_is_read_with_its_weights() -> None:
    network = read_network(EXAMPLES / "models" / "digits_cnn" / "1" / "model.onnx")
    assert (network.input, network.input_dims, network.output) == ("PIXELS", (1, 8, 8), "PROBABILITIES")
    assert [step.kind for step in network.steps] == [
        "divide", "convolution", "relu", "max_pool", "convolution", "relu", "max_pool",
        "flatten", "dense", "relu", "dense", "softmax",
    ]  # fmt: skip
    first = network.steps[1]
    assert first.weights is not None
    assert first.bias is not None
    assert (first.weights.shape, first.bias.shape, first.stride, first.padding) == ((16, 1, 3, 3), (16,), 1, 1)
    assert network.steps[0].divisor == 16
    assert (network.steps[3].size, network.steps[3].stride) == (2, 2)


def test_layers_that_are_laid_out_the_other_way_are_turned_round(tmp_path: Path) -> None:
    def port(name: str, *dims: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims])

    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    constants = [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(np.ones(3, np.float32), "b")]
    nodes = [
        helper.make_node("GlobalAveragePool", ["X"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["Y"]),
    ]
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", [port("X", 2, 4, 4)], [port("Y", 3)], constants)), path)
    mean, dense = read_network(path).steps
    assert (mean.kind, dense.kind, dense.inputs) == ("mean", "dense", (mean.output,))
    assert dense.weights is not None
    np.testing.assert_array_equal(dense.weights, weights.T)

    nodes[0] = helper.make_node("Sigmoid", ["X"], ["m"], name="squash")
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", [port("X", 2, 4, 4)], [port("Y", 3)], constants)), path)
    with pytest.raises(ValueError, match="node 'squash' is a Sigmoid, which has no step here"):
        read_network(path)
