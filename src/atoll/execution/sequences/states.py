"""Implicit state: outputs of a model that come back as its inputs with the sequence's next request. Pure.

A sequence's states are kept in its `Sequence`, read when a batch is joined and written when it has been executed,
before its answers go out. What fails leaves them as they were. The memory is the sequence's own: no view of a batch's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from atoll.config.model_config import ModelConfig
from atoll.errors import InternalError
from atoll.execution.batching.plan import TensorPlan
from atoll.execution.batching.splitting import checked_output
from atoll.request import InferenceRequest
from atoll.tensor import Array, Tensor


class SequenceStates:
    """Of one model. `initial` are the first values of its states, by input name (initial_state.py)."""

    def __init__(self, config: ModelConfig, initial: Mapping[str, Array]):
        batching = config.sequence_batching
        states = batching.state if batching is not None else ()
        self._model_name = config.name
        self._batched = config.max_batch_size > 0
        self._initial = initial
        self._listed = {one.name for one in config.output}
        # by input name: the output that it comes from
        self._sources = {
            one.input_name: TensorPlan(one.output_name, one.data_type, one.dims, None, one.data_type.dtype, False)
            for one in states
        }
        self._by_output = {source.name: (name, source) for name, source in self._sources.items()}
        self.input_names = tuple(self._sources)
        self.output_names = tuple(self._by_output)
        self.vary = any(dim < 0 for one in states for dim in one.dims)

    def __bool__(self) -> bool:
        return bool(self._sources)

    # ---- in

    def value(self, name: str, request: InferenceRequest) -> Array:
        """The state as the request finds it."""
        sequence: Any = request.sequence
        found: Array | None = sequence.states.get(name) if sequence is not None else None
        return self._initial[name] if found is None else found

    def join(self, requests: Sequence[InferenceRequest], inputs: dict[str, Array]) -> None:
        """Add the batch's states to its `inputs`."""
        if len(requests) == 1:
            for name in self._sources:
                inputs[name] = self.value(name, requests[0])
            return
        for name in self._sources:
            rows = [self.value(name, request) for request in requests]
            if self.vary:
                self._fill(rows, requests)
            inputs[name] = np.concatenate(rows)

    def _fill(self, rows: list[Array], requests: Sequence[InferenceRequest]) -> None:
        """An empty slot's row looks like the others."""
        like = next((row for row, request in zip(rows, requests, strict=True) if request.sequence is not None), None)
        for index, request in enumerate(requests):
            if request.sequence is None and like is not None and rows[index].shape != like.shape:
                rows[index] = _blank(like)

    def tensors(self, request: InferenceRequest) -> dict[str, Tensor]:
        """The states as inputs of this request, for a model that takes requests as they are."""
        return {
            name: Tensor(name, source.datatype, array.shape, array=array)
            for name, source in self._sources.items()
            for array in (self.value(name, request),)
        }

    def groups(self, requests: Sequence[InferenceRequest]) -> list[Sequence[InferenceRequest]]:
        """The requests that can be joined: where states differ in shape, each shape runs by itself, and empty slots,
        which then are nowhere, are left out.
        """
        groups: dict[object, list[InferenceRequest]] = {}
        for request in requests:
            if request.sequence is not None:
                shapes = tuple([self.value(name, request).shape for name in self._sources])
                groups.setdefault(shapes, []).append(request)
        return [requests] if len(groups) < 2 else list(groups.values())

    # ---- out

    def keep(
        self, outputs: Mapping[str, Array], inputs: Mapping[str, Array], requests: Sequence[InferenceRequest]
    ) -> None:
        """Write the batch's states into its sequences. A state for which the model has no output stays as it was.

        Raises InternalError, and keeps nothing, where an output is not what the configuration says of the state.
        """
        size = len(requests)
        found: list[tuple[str, Array]] = []
        for name, source in self._sources.items():
            array = outputs.get(source.name)
            if array is None:
                continue
            whole = (size, *source.dims) if self._batched else source.dims
            if array.dtype is not source.dtype or array.shape != whole:
                array = checked_output(array, source, self._batched, size, self._model_name)
            found.append((name, array))
        for name, array in found:
            if size == 1:
                shown = self._sources[name].name in self._listed  # and then in the client's hands, too
                _write(requests[0], name, array.copy() if shown else _own(array, inputs.values()))
                continue
            for index, request in enumerate(requests):
                _write(request, name, array[index : index + 1].copy())

    def take(self, request: InferenceRequest, tensors: list[Tensor]) -> list[Tensor]:
        """Write the states that one response of a request holds into its sequence; what is left for the client.

        Raises InternalError, and keeps nothing, as `keep`.
        """
        left: list[Tensor] = []
        found: list[tuple[str, Array]] = []
        wanted = request.output_names
        for tensor in tensors:
            state = self._by_output.get(tensor.name)
            if state is None:
                left.append(tensor)
                continue
            name, source = state
            if tensor.name in self._listed and (not wanted or tensor.name in wanted):
                left.append(tensor)
            array = tensor.array()
            if tensor.datatype is not source.datatype:
                raise InternalError(
                    f"unexpected datatype {tensor.datatype.config_name} for state output '{tensor.name}' of model "
                    f"'{self._model_name}', expecting {source.datatype.config_name}"
                )
            found.append((name, checked_output(array, source, self._batched, 1, self._model_name)))
        for name, array in found:
            _write(request, name, array.copy())
        return left


def _write(request: InferenceRequest, name: str, array: Array) -> None:
    sequence: Any = request.sequence
    if sequence is not None:
        sequence.states[name] = array


def _own(array: Array, inputs: Iterable[Array]) -> Array:
    """The array, copied where its memory may be a client's or hold more than this."""
    base = array.base
    if base is not None and type(base).__name__ != "PyCapsule":  # a capsule: an array of a native runtime's
        return array.copy()
    return array.copy() if any(array is one for one in inputs) else array


def _blank(like: Array) -> Array:
    array = np.zeros_like(like)
    if array.dtype == np.object_:
        array.fill(b"")
    return array
