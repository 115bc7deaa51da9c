"""How a file of PyTorch 2 says in what arguments its tensors come, and in what its results go: trees as JSON.

Nothing here knows PyTorch; the form is that of torch.utils._pytree's treespec_dumps.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_DEPTH = 64
_DICTS = (
    "builtins.dict",
    "collections.OrderedDict",
    "collections.defaultdict",
    "torch.fx.immutable_collections.immutable_dict",  # of a module that torch.fx made
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value of a call or a result. `label`: the key under which it is, else "". `plain`: it is an argument, or a
    result, by itself, and no part of one.
    """

    label: str
    plain: bool


def input_leaves(text: str) -> tuple[Leaf, ...]:
    """The values of a call in order: arguments by position first, then those by keyword.

    Raises ValueError where the text is no such tree.
    """
    children = _children(_tree(text))
    if len(children) != 2:
        raise ValueError("a call's tree must have arguments by position and by keyword")
    positional = [leaf for child in _children(children[0]) for leaf in _leaves(child, "", True)]
    keywords = zip(_keys(children[1]), _children(children[1]), strict=True)
    return (*positional, *(Leaf(leaf.label, False) for key, child in keywords for leaf in _leaves(child, key, True)))


def output_leaves(text: str) -> tuple[Leaf, ...]:
    """The values of a result in order. Raises ValueError where the text is no such tree."""
    tree = _tree(text)
    if tree.get("type") is None:
        return (Leaf("", True),)
    if _is_dict(tree):
        pairs = zip(_keys(tree), _children(tree), strict=True)
        return tuple(leaf for key, child in pairs for leaf in _leaves(child, key, False))
    return tuple(leaf for child in _children(tree) for leaf in _leaves(child, "", True))


def _tree(text: str) -> Mapping[str, Any]:
    try:
        protocol, tree = json.loads(text)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"no tree: {error}") from error
    if protocol != 1 or not isinstance(tree, dict):
        raise ValueError(f"a tree of protocol {protocol!r}, which is not 1")
    return tree


def _leaves(tree: Mapping[str, Any], label: str, plain: bool, depth: int = 0) -> Iterator[Leaf]:
    if depth > _DEPTH:
        raise ValueError("a tree too deep")
    if tree.get("type") is None:
        yield Leaf(label, plain)
    elif _is_dict(tree):
        for key, child in zip(_keys(tree), _children(tree), strict=True):
            yield from _leaves(child, key, False, depth + 1)
    else:
        for child in _children(tree):
            yield from _leaves(child, "", False, depth + 1)


def _is_dict(tree: Mapping[str, Any]) -> bool:
    return tree.get("type") in _DICTS


def _children(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    children = tree.get("children_spec")
    if not isinstance(children, list) or not all(isinstance(one, dict) for one in children):
        raise ValueError("a tree's node without children")
    return children


def _keys(tree: Mapping[str, Any]) -> list[str]:
    context = json.loads(tree.get("context") or "null")
    if tree.get("type") == "collections.defaultdict" and isinstance(context, list) and len(context) == 2:
        context = context[1]
    if not isinstance(context, list) or len(context) != len(_children(tree)):
        raise ValueError("a dict's tree without its keys")
    return [str(key) for key in context]
