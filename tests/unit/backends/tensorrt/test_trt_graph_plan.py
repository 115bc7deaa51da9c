"""Which CUDA graphs are captured, and which batch uses which."""

import pytest
from tests.unit.backends.tensorrt.conftest import configuration

from atoll.backends.tensorrt.engine import EngineDescription, EngineTensor
from atoll.backends.tensorrt.graph_plan import PlannedGraph, find_graph, plan_graphs, why_none
from atoll.backends.tensorrt.profiles import Profile, Range
from atoll.errors import ConfigError
from atoll.tensor import DataType

PROFILE = Profile(0, {"IN": Range((1, 2), (4, 3), (10, 8))})
ENGINE = EngineDescription(
    tensors=(
        EngineTensor(name="IN", is_input=True, data_type=DataType.FP32, shape=(-1, -1)),
        EngineTensor(name="OUT", is_input=False, data_type=DataType.FP32, shape=(-1, -1)),
    ),
    profiles=(PROFILE,),
)


def planned(text: str, size: int = 10) -> list[tuple[tuple[int, ...], int]]:
    config = configuration(f"max_batch_size: {size} {text}")
    return [(one.shapes["IN"], one.least) for one in plan_graphs(config, ENGINE, PROFILE)]


def cuda(text: str) -> str:
    return f"optimization {{ cuda {{ {text} }} }}"


def test_without_a_word_there_are_none() -> None:
    assert planned("") == []
    assert planned(cuda("graphs: false graph_spec { batch_size: 2 }")) == []


def test_the_usual_sizes_at_the_best_dimensions() -> None:
    assert [rows for (rows, dim), _ in planned(cuda("graphs: true"))] == [1, 2, 3, 4, 6, 8, 10]
    assert {dim for (rows, dim), _ in planned(cuda("graphs: true"))} == {3}
    preferred = "dynamic_batching { preferred_batch_size: [ 5, 7 ] }"
    assert [rows for (rows, _), _ in planned(cuda("graphs: true") + preferred)] == [1, 5, 7, 10]


def test_without_batches_there_is_one() -> None:
    assert planned(cuda("graphs: true"), 0) == [((4, 3), 0)]


def test_those_of_a_spec() -> None:
    spec = 'graph_spec { batch_size: 6 input { key: "IN" value { dim: [ 5 ] } } }'
    assert planned(cuda(f"graphs: true {spec} graph_spec {{ batch_size: 2 }}")) == [((6, 5), 0), ((2, 3), 0)]


def test_those_that_the_profile_does_not_take_are_left_out() -> None:
    assert planned(cuda('graphs: true graph_spec { batch_size: 6 input { key: "IN" value { dim: [ 9 ] } } }')) == []
    assert planned(cuda("graphs: true"), 12) == [((rows, 3), 0) for rows in (1, 2, 3, 4, 6, 8)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ('batch_size: 1 input { key: "X" value { dim: [ 5 ] } }', "names the input 'X', but the engine's are"),
        ("batch_size: 0", r"graph_spec\[0\].batch_size is 0 but must be from 1 to 10"),
        ("batch_size: 4 graph_lower_bound { batch_size: 5 }", "is 5 but must be from 1 to 4"),
        ("batch_size: 4 graph_lower_bound { }", "is 0 but must be from 1 to 4"),
        (
            'batch_size: 4 graph_lower_bound { batch_size: 1 input { key: "IN" value { dim: [ 2 ] } } }',
            r"input 'IN' is \[2\], but only the batch may be smaller",
        ),
    ],
)
def test_a_spec_that_cannot_be_followed(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(cuda(f"graphs: true graph_spec {{ {spec} }}"))


def test_more_than_anybody_needs() -> None:
    with pytest.raises(ConfigError, match=r"has 65 entries, at most 64"):
        planned(cuda("graphs: true " + "graph_spec { batch_size: 1 } " * 65))


def test_a_batch_finds_its_graph() -> None:
    exact, wide, wider = (
        PlannedGraph({"IN": (2, 3)}),
        PlannedGraph({"IN": (6, 3)}, least=3),
        PlannedGraph({"IN": (9, 3)}, least=1),
    )
    graphs = [wider, wide, exact]
    assert find_graph(graphs, {"IN": (2, 3)}) is exact
    assert find_graph(graphs, {"IN": (3, 3)}) is wide
    assert find_graph(graphs, {"IN": (6, 3)}) is wide
    assert find_graph(graphs, {"IN": (7, 3)}) is wider
    assert find_graph(graphs, {"IN": (1, 3)}) is wider
    assert find_graph(graphs, {"IN": (10, 3)}) is None
    assert find_graph(graphs, {"IN": (3, 4)}) is None
    assert find_graph([], {"IN": (3, 3)}) is None


def test_shape_tensors_prevent_it() -> None:
    shape = EngineTensor(name="S", is_input=True, data_type=DataType.INT64, shape=(2,), is_shape_tensor=True)
    assert why_none(ENGINE) == ""
    assert why_none(EngineDescription(tensors=(*ENGINE.tensors, shape), profiles=(PROFILE,))) == "'S' is a shape tensor"
