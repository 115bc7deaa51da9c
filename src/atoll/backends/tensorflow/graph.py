"""A model's graph as its file has it: read, with its tensors chosen, and not yet in a session."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.config.signature import ModelSignature


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGraph:
    """`feeds` and `fetches` are the names of inputs and outputs to those of the graph's tensors, such as "x:0".

    `operations` are the kinds of those that the outputs need. `definition` is the GraphDef, which may be changed until
    `restore` puts it into a session (within that session's own graph) with its variables and tables.
    """

    path: Path
    signature: ModelSignature
    feeds: Mapping[str, str]
    fetches: Mapping[str, str]
    operations: frozenset[str]
    definition: Any
    restore: Callable[[Any], None]


VARIABLES = frozenset({"VarHandleOp", "Variable", "VariableV2"})
_WAITS = (
    "Barrier",
    "Collective",
    "ConditionalAccumulator",
    "EagerPyFunc",
    "Iterator",
    "MapUnstage",
    "OrderedMapUnstage",
    "PyFunc",
    "QueueDequeue",
    "ReadFile",
    "Reader",
    "Recv",
    "Rpc",
    "Unstage",
)
_REMEMBERS = (
    "Assign",
    "Barrier",
    "ConditionalAccumulator",
    "Iterator",
    "LookupTableImport",
    "LookupTableInsert",
    "LookupTableRemove",
    "MapStage",
    "OrderedMapStage",
    "QueueEnqueue",
    "QueueDequeue",
    "ResourceApply",
    "ResourceScatter",
    "ResourceStridedSliceAssign",
    "ScatterAdd",
    "ScatterDiv",
    "ScatterMax",
    "ScatterMin",
    "ScatterMul",
    "ScatterSub",
    "ScatterUpdate",
    "Stage",
)


def waits(operations: Iterable[str]) -> bool:
    """Whether one of them waits for something outside of the graph, or runs Python."""
    return any(one.lstrip("_").startswith(_WAITS) for one in operations)


def remembers(operations: Iterable[str]) -> bool:
    """Whether one of them changes what the next run sees."""
    return any(one.startswith(_REMEMBERS) for one in operations)


def node_of(tensor: str) -> str:
    """The node whose output a tensor is; also of a node's input, which may be a control edge."""
    return tensor.removeprefix("^").partition(":")[0]


def reached(definition: Any, roots: Iterable[str], stop: Collection[str] = ()) -> tuple[set[str], frozenset[str]]:
    """The nodes that these need, and the kinds of their operations and of those in the functions that they call.

    What `stop` names is reached, but nothing through it: its value is fed.
    """
    nodes = {node.name: node for node in definition.node}
    functions = {one.signature.name: one for one in definition.library.function}
    found: set[str] = set()
    operations: set[str] = set()
    called: set[str] = set()
    left = list(roots)
    while left:
        name = left.pop()
        node = nodes.get(name)
        if name in found or node is None:
            continue
        found.add(name)
        operations.add(node.op)
        bodies = [*_functions_of(node, functions)]
        while bodies:
            function = bodies.pop()
            if function in called:
                continue
            called.add(function)
            for inner in functions[function].node_def:
                operations.add(inner.op)
                bodies += _functions_of(inner, functions)
        if name not in stop:
            left += [node_of(one) for one in node.input]
    return found, frozenset(operations)


def _functions_of(node: Any, functions: Mapping[str, Any]) -> list[str]:
    names = [node.op] if node.op in functions else []
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            names.append(attribute.func.name)
        elif attribute.HasField("list"):
            names += [one.name for one in attribute.list.func]
    return [one for one in names if one in functions]


def missing_operations(definition: Any, is_known: Callable[[str], bool]) -> list[str]:
    """Kinds of operations anywhere in the graph that are neither functions of its own nor `is_known`, sorted."""
    functions = {one.signature.name for one in definition.library.function}
    used = {node.op for node in definition.node}
    used.update(node.op for one in definition.library.function for node in one.node_def)
    return sorted(one for one in used - functions if not is_known(one))
