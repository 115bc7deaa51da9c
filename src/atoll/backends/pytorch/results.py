"""What a module returns, as arrays of the configured outputs that belong to nobody else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atoll.backends.pytorch.names import OutputPlan, listed
from atoll.backends.pytorch.types import torch_type, type_text
from atoll.backends.text import bytes_array
from atoll.errors import InternalError
from atoll.tensor import Array, DataType

_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Expected:
    """Of an output: `dtype` is PyTorch's, None for text; `shape` is what text is brought into."""

    data_type: DataType
    dtype: Any
    shape: tuple[int, ...] = ()

    @property
    def is_float(self) -> bool:
        return self.dtype is not None and bool(self.dtype.is_floating_point)


class Results:
    """Of one instance. `copies`: the module may keep what it returns, so that all of it is copied. `cast`: the type
    that autocast computes in; what comes out in it is given the configuration's. `fetch` brings tensors into the host's
    memory, where they are not there already.
    """

    def __init__(
        self,
        torch: Any,
        model: str,
        plan: OutputPlan,
        types: Mapping[str, DataType],
        text_shapes: Mapping[str, tuple[int, ...]],
        copies: bool,
        cast: Any = None,
        fetch: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ):
        self._torch = torch
        self._tensor = torch.Tensor
        self._model = model
        self._plan = plan
        self._single = plan.slots[0].name if len(plan.slots) == 1 and plan.slots[0].index == 0 else None
        self._is_text = self._single is not None and types[self._single] is DataType.BYTES
        self._expected = {
            name: Expected(datatype, torch_type(torch, datatype), text_shapes.get(name, ()))
            for name, datatype in types.items()
        }
        self._cast = cast
        self._fetch = fetch
        self._is_shared = _always if copies else _sharing(torch)

    def arrays(self, result: Any, names: Sequence[str], given: Sequence[Any]) -> dict[str, Array]:
        """The outputs of those names. `given`: the tensors that the module was given, whose memory is not its own.

        Raises InternalError where the module has returned something else than the configuration says.
        """
        if self._single is not None and (isinstance(result, self._tensor) or (self._is_text and type(result) is list)):
            found = dict.fromkeys(names, result)
        else:
            found = self._named(result)
        if self._fetch is not None:
            found = self._fetch({name: found[name] for name in names})
        return {name: self._array(name, found[name], given) for name in names}

    def _named(self, result: Any) -> dict[str, Any]:
        slots = self._plan.slots
        fields = getattr(result, "_fields", ())
        if isinstance(result, Mapping) or (fields and all(slot.key in fields for slot in slots)):
            if fields:
                result = result._asdict()
            if all(slot.key in result for slot in slots):
                return {slot.name: result[slot.key] for slot in slots}
            if self._plan.exact:
                raise self._disagrees(f"a dict of {listed([str(key) for key in result])}")
            result = list(result.values())
        values = list(_flat(result))
        if len(values) <= max(slot.index for slot in slots) or (self._plan.exact and len(values) != len(slots)):
            raise self._disagrees(f"{len(values)} value{'s' * (len(values) != 1)}")
        return {slot.name: values[slot.index] for slot in slots}

    def _disagrees(self, returned: str) -> InternalError:
        names = listed([slot.name for slot in self._plan.slots])
        return InternalError(
            f"model '{self._model}' returned {returned}, but its configuration has {len(self._plan.slots)} outputs: "
            f"{names}; name them by their keys in a dict, or OUTPUT__<index> by their place"
        )

    def _array(self, name: str, value: Any, given: Sequence[Any]) -> Array:
        expected = self._expected[name]
        if not isinstance(value, self._tensor):
            return self._text(name, value, expected)
        if value.dtype is not expected.dtype and value.dtype is self._cast and expected.is_float:
            value = value.to(expected.dtype)
        elif value.dtype is not expected.dtype:
            raise InternalError(
                f"output '{name}' of model '{self._model}' is {type_text(value.dtype)}, but the configuration says "
                f"{expected.data_type.config_name}"
            )
        if value.requires_grad:
            value = value.detach()
        if not value.is_cpu:
            value = value.cpu()
        shared = value.is_contiguous() and self._is_shared(value, given)
        if not shared:
            value = value.contiguous()
        if expected.data_type is DataType.BF16:
            array: Array = value.view(self._torch.int16).numpy().view(np.uint16)
        else:
            array = value.numpy()
        return array.copy() if shared else array

    def _text(self, name: str, value: Any, expected: Expected) -> Array:
        is_text = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if not is_text or expected.data_type is not DataType.BYTES:
            kind = "a list of text" if is_text else f"a {type(value).__name__}"
            wanted = expected.data_type.config_name
            raise InternalError(
                f"output '{name}' of model '{self._model}' is {kind}, but the configuration says {wanted}: "
                f"{'a list of str' if wanted == 'TYPE_STRING' else 'a tensor'} is expected"
            )
        return bytes_array(value, expected.shape)


def _flat(result: Any, depth: int = 0) -> Iterator[Any]:
    """The tensors in lists and tuples in order; a list of text is one value."""
    if isinstance(result, (list, tuple)) and depth < _DEPTH:
        if isinstance(result, list) and result and all(isinstance(one, str) for one in result):
            yield result
        else:
            for one in result:
                yield from _flat(one, depth + 1)
    else:
        yield result


def _always(value: Any, given: Sequence[Any]) -> bool:
    return True


def _sharing(torch: Any) -> Callable[[Any, Sequence[Any]], bool]:
    """Whether a tensor's memory is also somebody else's: an input's, a parameter's, another output's."""
    storages = getattr(torch._C, "_storage_Use_Count", None)  # noqa: SLF001
    if storages is None or not hasattr(torch.Tensor, "_use_count"):  # not PyTorch's public interface
        return _always
    fresh = torch.empty(1)
    storage = fresh.untyped_storage()
    alone, held = storages(storage._cdata), fresh._use_count()  # noqa: SLF001

    def shared(value: Any, given: Sequence[Any]) -> bool:
        storage = value.untyped_storage()
        if storages(storage._cdata) > alone or value._use_count() > held:  # noqa: SLF001
            return True
        for one in given:
            if value is one:
                return True
        return False

    return shared
