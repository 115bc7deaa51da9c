"""How the names in a configuration meet a model's arguments and results: by name, by index, or by order.

Triton's conventions: a tensor is named as the argument of `forward` is, or `<name>__<index>` (INPUT__0), or, where no
name fits, the configuration's order is the model's. Nothing here knows PyTorch.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.errors import ConfigError

_INDEXED = re.compile(r".*__(\d{1,6})", re.DOTALL)
_SHOWN = 32  # names in an error's text


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """What a model says of its call.

    `arguments`: its tensors in order, None where it does not say how many it takes; those in `optional` may be left
    out, those in `keyword_only` are not given by position, those in `strings` are lists of text. `named`: the order of
    a configuration does not stand for their names. `keyed`: it takes one dict, of tensors under any keys. `outputs`:
    the keys of the dict that it returns, else None; `output_count`: how many tensors it returns, None where it does not
    say. `strings_out`: what it returns is a list of text. `typed`: it says which arguments are lists of text.
    """

    arguments: tuple[str, ...] | None = None
    optional: frozenset[str] = frozenset()
    named: bool = False
    keyword_only: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    keyed: bool = False
    outputs: tuple[str, ...] | None = None
    output_count: int | None = None
    strings_out: bool = False
    typed: bool = True


@dataclass(frozen=True, slots=True)
class OutputSlot:
    """A configured output: `index` is its place among what the model returns, `key` its key where that is a dict."""

    name: str
    index: int
    key: str


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """The configured outputs. `exact`: they are told by their order, so that the model must return just as many."""

    slots: tuple[OutputSlot, ...]
    exact: bool


def bind_inputs(model: str, forward: Forward, names: Sequence[str]) -> tuple[str | None, ...]:
    """For each argument the configured input that goes there, None where it is left out; for a dict all names.

    Raises ConfigError with both sides where they do not fit.
    """
    if forward.keyed:
        return tuple(names)
    indices = _indices(names)
    if forward.arguments is None:
        return _unknown_inputs(model, names, indices)
    arguments = forward.arguments
    bound: dict[int, str]
    if set(arguments).issuperset(names):
        bound = {arguments.index(name): name for name in names}
    elif indices is not None:
        bound = dict(zip(indices, names, strict=True))
        beyond = [name for index, name in bound.items() if index >= len(arguments)]
        if beyond:
            raise _inputs_disagree(model, forward, names, f"there is no argument for '{beyond[0]}'")
    elif not forward.named and set(arguments).isdisjoint(names) and len(names) <= len(arguments):
        bound = dict(enumerate(names))
    else:
        raise _inputs_disagree(model, forward, names, "no rule for names fits all of them")
    missing = [one for i, one in enumerate(arguments) if i not in bound and one not in forward.optional]
    if missing:
        raise _inputs_disagree(model, forward, names, f"there is no input for argument '{missing[0]}'")
    return tuple(bound.get(i) for i in range(len(arguments)))


def bind_outputs(model: str, forward: Forward, names: Sequence[str]) -> OutputPlan:
    """Where each configured output is in what the model returns.

    Raises ConfigError with both sides where the model says what it returns and they do not fit.
    """
    keys = forward.outputs
    count = len(keys) if keys is not None else forward.output_count
    if keys is not None and set(keys).issuperset(names):
        return OutputPlan(tuple(OutputSlot(name, keys.index(name), name) for name in names), exact=False)
    indices = _indices(names)
    if indices is None:
        if count is not None and (len(names) != count or (keys is not None and not set(keys).isdisjoint(names))):
            raise _outputs_disagree(model, names, keys, count)
        places: Sequence[int] = range(len(names))
    else:
        if count is not None and max(indices, default=0) >= max(count, 1):
            raise _outputs_disagree(model, names, keys, count)
        places = indices
    slots = (
        OutputSlot(name, index, keys[index] if keys is not None else name)
        for name, index in zip(names, places, strict=True)
    )
    return OutputPlan(tuple(slots), exact=indices is None)


def listed(names: Sequence[str]) -> str:
    """Names for an error's text, of which there may be many."""
    shown = ", ".join(names[:_SHOWN])
    return (f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown) or "none"


def _indices(names: Sequence[str]) -> list[int] | None:
    """The numbers at the names' ends, if all have one and no two the same."""
    found = [_INDEXED.fullmatch(name) for name in names]
    indices = [int(one[1]) for one in found if one is not None]
    return indices if len(indices) == len(names) == len(set(indices)) else None


def _unknown_inputs(model: str, names: Sequence[str], indices: list[int] | None) -> tuple[str | None, ...]:
    if indices is None:
        return tuple(names)
    by_index = dict(zip(indices, names, strict=True))
    gaps = [index for index in range(len(names)) if index not in by_index]
    if gaps:
        raise ConfigError(
            f"model '{model}': the configuration's inputs are {listed(names)}, of which none has the index {gaps[0]}: "
            f"number them from 0 to {len(names) - 1}"
        )
    return tuple(by_index[index] for index in range(len(names)))


def _inputs_disagree(model: str, forward: Forward, names: Sequence[str], why: str) -> ConfigError:
    arguments = forward.arguments or ()
    takes = [f"{one} (optional)" if one in forward.optional else one for one in arguments]
    remedy = "name them as the model does"
    if arguments:
        remedy += f", or INPUT__0 to INPUT__{len(arguments) - 1} by position" if len(arguments) > 1 else ", or INPUT__0"
    return ConfigError(
        f"model '{model}': the configuration's {len(names)} inputs are {listed(names)}, but the model takes "
        f"{len(arguments)}: {listed(takes)}; {why}: {remedy}"
    )


def _outputs_disagree(model: str, names: Sequence[str], keys: Sequence[str] | None, count: int) -> ConfigError:
    returns = f"a dict of {count}: {listed(keys)}" if keys is not None else f"{count} tensor{'s' * (count != 1)}"
    remedy = (
        "name them by its keys" if keys is not None else f"name those to be served OUTPUT__0 to OUTPUT__{count - 1}"
    )
    return ConfigError(
        f"model '{model}': the configuration's {len(names)} outputs are {listed(names)}, but the model returns "
        f"{returns}; {remedy if count else 'a model must return a tensor'}"
    )
