"""One execution context: a batch's arrays into a model's methods and out of them again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from atoll.backends.tabular.outputs import Output, giving
from atoll.backends.tabular.predictor import Predictor, execution_error
from atoll.backends.tabular.rows import Rows
from atoll.errors import InternalError
from atoll.tensor import Array


class TabularInstance:
    """Runs batches. XGBoost and LightGBM run without the GIL; scikit-learn's estimators hold it in parts."""

    def __init__(self, predictor: Predictor, rows: Rows, outputs: Sequence[Output], *, one_row: bool = False):
        self._library = predictor.library
        self._rows = rows
        self._one_row = one_row
        self._outputs: dict[str, tuple[Callable[[Any], Array], Output]] = {
            one.name: (giving(predictor.methods[one.method], one.data_type), one) for one in outputs
        }

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch. Raises InvalidArgumentError for values that the model refuses, such as NaN for some."""
        if self._one_row:
            found = self._execute({name: one[np.newaxis] for name, one in inputs.items()}, output_names)
            return {name: one[0] for name, one in found.items()}
        return self._execute(inputs, output_names)

    def _execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        rows = self._rows(inputs)
        count = len(next(iter(inputs.values())))
        if count == 0:
            return {name: _nothing(self._outputs[name][1]) for name in output_names}
        found = {}
        for name in output_names:
            try:
                found[name] = self._outputs[name][0](rows)
            except Exception as error:
                raise execution_error(self._library, error) from error
            if any(np.may_share_memory(found[name], one) for one in inputs.values()):  # which are a client's
                found[name] = found[name].copy()
            if len(found[name]) != count:
                raise InternalError(
                    f"output '{name}': {self._library} gave {len(found[name])} rows for a batch of {count}"
                )
        return found

    def close(self) -> None:
        """Let go of the model, which other instances hold too."""
        self._outputs.clear()


def _nothing(output: Output) -> Array:
    """No rows: the libraries disagree on what that is, and some fail."""
    return np.empty((0, *(output.width or (1,))), output.data_type.dtype)
