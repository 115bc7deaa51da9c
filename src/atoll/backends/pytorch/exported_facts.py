"""What a file of torch.export says of its program: names, types, shapes, what it writes to. Read without PyTorch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.backends.pytorch.call_spec import Leaf, input_leaves, output_leaves
from atoll.backends.pytorch.names import Forward
from atoll.backends.pytorch.types import BY_EXPORT_NUMBER
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.tensor import DataType

TENSOR = object()
"""Stands for a tensor among the values of a call, the others of which are as they were at export."""

_IN_PLACE = re.compile(r".*\.([A-Za-z]\w*[A-Za-z0-9])_(\.\w+)?")
# Operators whose results may share memory with what they are given.
# fmt: off
_VIEWS = frozenset((
    "alias", "as_strided", "broadcast_to", "chunk", "contiguous", "detach", "diagonal", "dropout", "expand",
    "expand_as", "feature_dropout", "flatten", "getitem", "imag", "movedim", "moveaxis", "mT", "narrow",
    "permute", "pin_memory", "real", "reshape", "reshape_as", "select", "slice", "split", "split_with_sizes",
    "squeeze", "swapaxes", "swapdims", "T", "t", "tensor_split", "to", "transpose", "type_as", "unbind",
    "unflatten", "unfold", "unsqueeze", "view", "view_as", "view_as_complex", "view_as_real",
))
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFacts:
    """`values`: a call's values in order, TENSOR or a constant. `plain`: each is an argument by position.

    `writes_inputs`: the program writes to its inputs; `stateful`: to its own buffers. `returns_given`: it may return
    what it was given, or what it holds, as it is. `operators`: such as torch.ops.aten.add.Tensor.
    """

    signature: ModelSignature
    forward: Forward
    values: tuple[Any, ...]
    plain: bool
    writes_inputs: bool
    stateful: bool
    returns_given: bool
    operators: frozenset[str]
    torch_version: str


def exported_facts(program: Mapping[str, Any]) -> ExportedFacts:
    """Of a program as its file has it. Raises ValueError where it is none, or takes or returns what is no tensor."""
    try:
        return _facts(program)
    except (KeyError, TypeError, IndexError, AttributeError, StopIteration) as error:
        version = program.get("torch_version", "unknown")
        raise ValueError(
            f"its program, of PyTorch {version}, has an unknown form ({type(error).__name__}: {error})"
        ) from error


def _facts(program: Mapping[str, Any]) -> ExportedFacts:
    module = program["graph_module"]
    graph, specs = module["graph"], module["signature"]
    call = next(one["signature"] for one in module["module_call_graph"] if one["fqn"] == "")
    given = [_value(one) for one in specs["input_specs"] if "user_input" in one or "constant_input" in one]
    returned = [
        _tensor_name(one["user_output"]["arg"], "returns") for one in specs["output_specs"] if "user_output" in one
    ]
    leaves, results = input_leaves(call["in_spec"]), output_leaves(call["out_spec"])
    if len(leaves) != len(given) or len(results) != len(returned):
        raise ValueError("its program's trees and values are not of one length")
    tensors = [(i, leaf, given[i][1]) for i, leaf in enumerate(leaves) if given[i][0] is TENSOR]
    names = _input_names(tensors, leaves, call.get("forward_arg_names") or ())
    keys = _keys(results)
    known = graph["tensor_values"]
    inputs = [_signature(name, known[node]) for name, (*_, node) in zip(names, tensors, strict=True)]
    outputs = [
        _signature(keys[i] if keys else f"OUTPUT__{i}", known[node]) for i, node in enumerate(returned)
    ]  # fmt: skip
    sizes = [known[node]["sizes"] for *_, node in tensors] + [known[node]["sizes"] for node in returned]
    user = {node for *_, node in tensors}
    placeholders = {str(one["as_tensor"]["name"]) for one in graph["inputs"] if "as_tensor" in one}
    written = _written(graph["nodes"], placeholders)
    mutations = [kind for one in specs["output_specs"] for kind in one if kind.endswith("_mutation")]
    return ExportedFacts(
        signature=ModelSignature(inputs=tuple(inputs), outputs=tuple(outputs), batching=_batching(sizes)),
        forward=Forward(arguments=tuple(names), named=True, outputs=keys or None, output_count=len(returned)),
        values=tuple(TENSOR if value[0] is TENSOR else value[1] for value in given),
        plain=all(leaf.plain for leaf in leaves),
        writes_inputs=bool(written & user) or "user_input_mutation" in mutations,
        stateful=bool(written - user) or "buffer_mutation" in mutations,
        returns_given=not placeholders.isdisjoint(returned),
        operators=frozenset(one["target"] for one in graph["nodes"] if one["target"].startswith("torch.ops.")),
        torch_version=str(program.get("torch_version", "unknown")),
    )


def _value(spec: Mapping[str, Any]) -> tuple[object, Any]:
    if "constant_input" in spec:
        return None, _constant(spec["constant_input"]["value"])
    argument = spec["user_input"]["arg"]
    if "as_tensor" in argument:
        return TENSOR, str(argument["as_tensor"]["name"])
    return None, _constant(argument)


def _constant(argument: Mapping[str, Any]) -> Any:
    kind, value = next(iter(argument.items()))
    if kind == "as_none":
        return None
    if kind in ("as_int", "as_float", "as_bool", "as_string"):
        return value
    raise ValueError(f"it takes a value of kind {kind.removeprefix('as_')} that is no tensor: export it with tensors")


def _tensor_name(argument: Mapping[str, Any], does: str) -> str:
    if "as_tensor" not in argument:
        kind = next(iter(argument)).removeprefix("as_")
        raise ValueError(f"it {does} a value of kind {kind} that is no tensor: export it with tensors")
    return str(argument["as_tensor"]["name"])


def _input_names(
    tensors: Sequence[tuple[int, Leaf, str]], leaves: Sequence[Leaf], arguments: Sequence[str]
) -> list[str]:
    """By keys where there are such, else by the names of forward's arguments, else as the program calls them.

    The program's own names are the arguments' too, but in small letters, and changed where they mean something there.
    """
    plain = all(leaf.plain for leaf in leaves) and len(arguments) >= len(leaves)
    names = [leaf.label or (arguments[place] if plain else node) for place, leaf, node in tensors]
    return names if len(set(names)) == len(names) else [node for *_, node in tensors]


def _keys(results: Sequence[Leaf]) -> tuple[str, ...]:
    keys = tuple(leaf.label for leaf in results)
    return keys if all(keys) and len(set(keys)) == len(keys) else ()


def _signature(name: str, meta: Mapping[str, Any]) -> TensorSignature:
    shape = tuple(int(one["as_int"]) if "as_int" in one else -1 for one in meta["sizes"])
    datatype = BY_EXPORT_NUMBER.get(int(meta["dtype"]), DataType.INVALID)
    return TensorSignature(name=name, data_type=datatype, shape=shape)


def _batching(sizes: Sequence[Sequence[Mapping[str, Any]]]) -> bool | None:
    """Whether the first dimension of every tensor is one and the same, of any size; None where the shapes tell."""
    firsts = [one[0] if one else {} for one in sizes]
    if not all("as_expr" in one for one in firsts):
        return None
    return len({one["as_expr"]["expr_str"] for one in firsts}) == 1


def _written(nodes: Iterable[Mapping[str, Any]], placeholders: set[str]) -> set[str]:
    """Those of the program's inputs whose memory one of its operators writes to."""
    origin = {name: {name} for name in placeholders}
    written: set[str] = set()
    for node in nodes:
        names = [name for one in node["inputs"] for name in _names_in(one["arg"])]
        found = _IN_PLACE.fullmatch(node["target"])
        if found is not None and names:
            written |= origin.get(names[0], set())
        operator = node["target"].split(".")
        if found is not None or not _VIEWS.isdisjoint(operator[-2:]):
            source = set().union(*(origin.get(name, set()) for name in names))
            for one in node["outputs"]:
                for name in _names_in(one):
                    origin[name] = source
    return written


def _names_in(argument: Mapping[str, Any]) -> list[str]:
    if "as_tensor" in argument:
        return [str(argument["as_tensor"]["name"])]
    return [str(one["name"]) for one in argument.get("as_tensors") or ()]
