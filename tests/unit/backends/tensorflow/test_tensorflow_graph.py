"""What a graph needs, and what can be told from the kinds of its operations."""

from types import SimpleNamespace
from typing import Any

import pytest

from atoll.backends.tensorflow.graph import missing_operations, node_of, reached, remembers, waits


class Attribute:
    """An AttrValue that holds a function, or a list of such."""

    def __init__(self, *functions: str, listed: bool = False):
        self._kind = "list" if listed else "func"
        named = [SimpleNamespace(name=one) for one in functions]
        self.func = named[0]
        self.list = SimpleNamespace(func=named)

    def HasField(self, name: str) -> bool:  # noqa: N802  (protobuf's)
        return name == self._kind


def node(name: str, op: str, *inputs: str, **attributes: Attribute) -> Any:
    return SimpleNamespace(name=name, op=op, input=inputs, attr=attributes)


def function(name: str, *nodes: Any) -> Any:
    return SimpleNamespace(signature=SimpleNamespace(name=name), node_def=nodes)


def graph(*nodes: Any, functions: tuple[Any, ...] = ()) -> Any:
    return SimpleNamespace(node=nodes, library=SimpleNamespace(function=functions))


CALLING = graph(
    node("x", "Placeholder"),
    node("a", "PartitionedCall", "x:0", f=Attribute("outer")),
    node("b", "Relu", "a:1", "^c"),
    node("c", "NoOp"),
    node("apart", "AssignVariableOp", "x"),
    functions=(
        function("outer", node("i", "Case", "k", branches=Attribute("left", "right", listed=True))),
        function("left", node("l", "QueueDequeueV2")),
        function("right", node("r", "outer")),
        function("apart", node("p", "PyFunc")),
    ),
)


@pytest.mark.parametrize(("text", "name"), [("x:0", "x"), ("^x", "x"), ("x", "x"), ("scope/x:12", "scope/x")])
def test_a_tensor_is_a_nodes(text: str, name: str) -> None:
    assert node_of(text) == name


def test_all_that_is_needed_is_reached_and_nothing_else() -> None:
    nodes, operations = reached(CALLING, ["b"])
    assert nodes == {"b", "a", "x", "c"}
    assert operations == {"Relu", "PartitionedCall", "Placeholder", "NoOp", "Case", "QueueDequeueV2", "outer"}
    assert waits(operations)


def test_nothing_is_reached_through_what_is_fed() -> None:
    assert reached(CALLING, ["b"], {"a"})[0] == {"b", "a", "c"}


def test_unknown_operations_are_found_everywhere() -> None:
    known = {"Placeholder", "PartitionedCall", "Relu", "NoOp", "Case"}
    assert missing_operations(CALLING, known.__contains__) == ["AssignVariableOp", "PyFunc", "QueueDequeueV2"]


@pytest.mark.parametrize("kind", ["EagerPyFunc", "IteratorGetNext", "_Recv", "ReadFile", "QueueDequeueManyV2"])
def test_what_waits_is_known(kind: str) -> None:
    assert waits(["MatMul", kind])


@pytest.mark.parametrize("kind", ["AssignAddVariableOp", "ResourceScatterUpdate", "LookupTableInsertV2", "ScatterAdd"])
def test_what_remembers_is_known(kind: str) -> None:
    assert remembers(["MatMul", kind])


def test_plain_operations_do_neither() -> None:
    plain = ["MatMul", "ReadVariableOp", "ScatterNd", "TensorScatterUpdate", "LookupTableFindV2", "While", "Recip"]
    assert not waits(plain)
    assert not remembers(plain)
