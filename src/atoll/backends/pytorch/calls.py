"""How tensors go into a module: by position, by keyword after one that is left out, in a dict, or in a tree."""

from collections.abc import Callable, Sequence
from typing import Any

from atoll.backends.pytorch.names import Forward

Call = Callable[[list[Any]], Any]
"""Takes a call's tensors in the order of its names, None for one that a request leaves out; returns the result."""


def by_position(module: Any) -> Call:
    """Of a module none of whose arguments is ever left out."""
    return lambda tensors: module(*tensors)


def of_module(module: Any, forward: Forward, bound: Sequence[str | None]) -> Call:
    """Of a module that says itself what it takes."""
    if forward.keyed:
        return by_key(module, [name for name in bound if name is not None])
    if forward.optional or forward.keyword_only:
        return by_keyword(module, forward, bound)
    return by_position(module)


def by_keyword(module: Any, forward: Forward, bound: Sequence[str | None]) -> Call:
    """Of a module some of whose arguments may be left out: those after the first gap go by their names."""
    arguments = forward.arguments or ()
    most = len(arguments) - len(forward.keyword_only)
    fed = [i for i, name in enumerate(bound) if name is not None]

    def call(tensors: list[Any]) -> Any:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for place, tensor in zip(fed, tensors, strict=True):
            if tensor is None:
                continue
            if place == len(positional) < most and not named:
                positional.append(tensor)
            else:
                named[arguments[place]] = tensor
        return module(*positional, **named)

    return call


def by_key(module: Any, names: Sequence[str]) -> Call:
    """Of a module that takes one dict."""
    return lambda tensors: module(
        {name: tensor for name, tensor in zip(names, tensors, strict=True) if tensor is not None}
    )


def in_tree(module: Any, unflatten: Callable[[list[Any]], Any], values: Sequence[Any], tensor: object) -> Call:
    """Of an exported program whose arguments are trees of values: `tensor` marks those that are tensors."""

    def call(tensors: list[Any]) -> Any:
        given = iter(tensors)
        positional, named = unflatten([next(given) if value is tensor else value for value in values])
        return module(*positional, **named)

    return call
