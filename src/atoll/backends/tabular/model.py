"""A loaded model with its inputs and outputs settled: what `signature` reports and instances run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from atoll.backends.api import ModelSource
from atoll.backends.tabular.outputs import (
    Output,
    Tried,
    default_outputs,
    method_of,
    plain,
    served_types,
)
from atoll.backends.tabular.predictor import CONTRIBUTIONS, PREDICT, PROBABILITIES, Predictor
from atoll.backends.tabular.rows import NUMBERS, Rows, column_rows, matrix_rows
from atoll.backends.tabular.settings import TabularSettings
from atoll.backends.tabular.sklearn_files import pandas_for
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError, MissingExtraError
from atoll.tensor import Array, DataType

DEFAULT_INPUT = "INPUT"


class TabularTensors:
    """Inputs and outputs of a model, as far as it and the configuration say."""

    def __init__(self, source: ModelSource, predictor: Predictor, settings: TabularSettings):
        self.predictor = predictor
        self._source = source
        self._settings = settings
        config = source.config
        # dims of one row, and no batches: each request is such a one
        self.one_row = config.max_batch_size == 0 and len(config.input) == 1 and len(config.input[0].dims) == 1
        self.inputs = self._inputs()
        self.rows, tried = self._ways()
        self.outputs = self._outputs(tried)

    def signature(self) -> ModelSignature:
        """For what completes and checks configurations."""
        first = () if self.one_row else (-1,)
        outputs = [
            TensorSignature(
                name=one.name, data_type=one.data_type, shape=None if one.width is None else (*first, *one.width)
            )
            for one in self.outputs
        ]
        inputs = tuple(replace(one, shape=(*first, *(one.shape or ())[1:])) for one in self.inputs)
        return ModelSignature(inputs=inputs, outputs=tuple(outputs), batching=not self.one_row)

    @property
    def bounded(self) -> bool:
        """Whether each execution takes about as long; what each feature adds is worked out by trying without it."""
        return self.predictor.bounded and all(one.method != CONTRIBUTIONS for one in self.outputs)

    def _inputs(self) -> tuple[TensorSignature, ...]:
        written = {one.name: one.data_type for one in self._source.config.input}
        allowed = NUMBERS if self.predictor.of_numbers else (*NUMBERS, DataType.BYTES)
        if len(written) <= 1:
            name = next(iter(written), DEFAULT_INPUT)
            kind = written.get(name, DataType.INVALID)
            shape = (-1, self.predictor.features or -1)
            return (TensorSignature(name=name, data_type=kind if kind in allowed else DataType.FP32, shape=shape),)
        names = self.predictor.names if set(written) <= set(self.predictor.names) else tuple(written)
        expected = self.predictor.features
        if expected and len(names) != expected:
            known = f" ({_some(self.predictor.names)})" if self.predictor.names else ""
            raise ConfigError(
                f"model '{self._source.name}': the configuration has {len(names)} inputs ({_some(names)}), the model "
                f"{expected} columns{known}; give one input of dims: [{expected}], or one for each column"
            )
        if self.predictor.library == "scikit-learn" and self.predictor.names and names is not self.predictor.names:
            unknown = sorted(set(written) - set(self.predictor.names))
            raise ConfigError(
                f"model '{self._source.name}': unexpected inference input '{unknown[0]}', allowed inputs are its "
                f"columns: {_some(self.predictor.names)}; or give one input of dims: [{expected}]"
            )
        kinds = {name: written.get(name, DataType.FP32) for name in names}
        return tuple(
            TensorSignature(name=name, data_type=kind if kind in allowed else DataType.FP32, shape=(-1, 1))
            for name, kind in kinds.items()
        )

    def _ways(self) -> tuple[Rows, Mapping[str, Tried]]:
        """How rows are made, and what methods gave for one of zeros: of a table where it takes no plain array."""
        plain_rows = self._rows(None)
        tried = self._try(plain_rows)
        if tried or not self.predictor.names or self.predictor.of_numbers:
            return plain_rows, tried
        try:
            pandas = pandas_for(self._source)
        except MissingExtraError:
            if len(self.inputs) == 1:
                return plain_rows, tried
            raise
        table_rows = self._rows(pandas.DataFrame)
        return table_rows, self._try(table_rows)

    def _rows(self, make_table: Any) -> Rows:
        names = [one.name for one in self.inputs]
        as_floats = self.predictor.of_numbers
        if len(names) == 1:
            return matrix_rows(names[0], as_floats=as_floats, make_table=make_table, names=self.predictor.names)
        return column_rows(names, as_floats=as_floats, make_table=make_table)

    def _try(self, rows: Rows) -> dict[str, Tried]:
        """By method; those that fail are left out, as one does for which such a row means nothing."""
        if any(one.shape is None or -1 in one.shape[1:] for one in self.inputs):
            return {}
        found: dict[str, Tried] = {}
        for name, method in self.predictor.methods.items():
            try:
                given = plain(method(rows({one.name: _zeros(one) for one in self.inputs})))
            except Exception:  # of a library's many kinds, about a row that nobody sent
                continue
            kind = _kind(given)
            if kind is not None and len(given) == 1:
                found[name] = Tried(kind, given.shape[1:])
        return found

    def _outputs(self, tried: Mapping[str, Tried]) -> tuple[Output, ...]:
        written = {one.name: one.data_type for one in self._source.config.output}
        methods = tuple(self.predictor.methods)
        said = self._settings.methods
        for name, method in [*said.items(), *([("", self._settings.method)] if self._settings.method else [])]:
            if method not in methods:
                key = f"output '{name}' in the parameter 'outputs'" if name else "the parameter 'predict_method'"
                raise ConfigError(
                    f"model '{self._source.name}': {key} is of '{method}', which this model of "
                    f"{self.predictor.library} does not have; it has {', '.join(methods)}"
                )
        if not written:
            pairs = list(said.items()) or default_outputs(list(tried) or methods)
        else:
            alone = (self._settings.method or PREDICT) if len(written) == 1 and PREDICT in methods else ""
            alone = self._settings.method or alone
            pairs = [(name, self._method(name, said, methods, alone)) for name in written]
        return tuple(self._output(name, method, written, tried) for name, method in pairs)

    def _method(self, name: str, said: Mapping[str, str], methods: tuple[str, ...], alone: str) -> str:
        found = method_of(name, said, methods, alone)
        if found is None:
            raise ConfigError(
                f"model '{self._source.name}': nothing says what output '{name}' is of; name it after a method of the "
                f"model ({', '.join(methods)}), or say so with the parameter 'outputs', such as '{name}={methods[0]}'"
            )
        return found

    def _output(self, name: str, method: str, written: Mapping[str, DataType], tried: Mapping[str, Tried]) -> Output:
        found = tried.get(method) or self._guessed(method)
        wanted = written.get(name, DataType.INVALID)
        if found is None:
            return Output(name, method, wanted, None)
        types = served_types(found.kind)
        return Output(name, method, wanted if wanted in types else types[0], found.width)

    def _guessed(self, method: str) -> Tried | None:
        """Where no row could be tried: what the classes say."""
        classes = self.predictor.classes
        if classes is None or classes.ndim != 1:
            return None
        if method == PREDICT:
            return Tried(classes.dtype.kind, (1,))
        return Tried("f", (len(classes),)) if method == PROBABILITIES else None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _zeros(tensor: TensorSignature) -> Array:
    shape = (1, *(tensor.shape or ())[1:])
    if tensor.data_type is DataType.BYTES:
        return np.full(shape, b"", np.object_)
    return np.zeros(shape, tensor.data_type.dtype)


def _kind(given: Array) -> str | None:
    """The kind of its type; of objects, only strings are served."""
    if given.dtype.kind == "O" and not all(isinstance(one, (str, bytes)) for one in given.ravel().tolist()):
        return None
    return given.dtype.kind if served_types(given.dtype.kind) else None
