"""The tabular backend passes the suite that every backend passes, as far as models of rows and columns can."""

from pathlib import Path

import numpy as np
import pytest

from atoll.backends.tabular import TabularBackend
from atoll.tensor import BY_PROTOCOL_NAME
from atoll.testing.backend_contract import BackendContract, ModelFiles


class TestTabular(BackendContract):
    backend = TabularBackend
    runtime_modules = ("sklearn", "skops", "xgboost", "lightgbm")
    cannot = {
        "names": "a model has one matrix, under whatever name; its columns' names are tested by themselves",
        "types": "a matrix comes in any type of numbers, and the model has no word on that",
        "variable dims": "a model has been trained on so many columns",
        "zero size": "a model without columns cannot be trained",
        "scalars": "a row has columns",
        "several outputs": "outputs are of one model's methods, of which each gives another thing",
        "BF16": "the libraries have no such numbers",
    }

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        import skops.io
        from sklearn.preprocessing import FunctionTransformer

        rows = np.zeros((2, *dims), BY_PROTOCOL_NAME[datatype].dtype)
        skops.io.dump(FunctionTransformer(check_inverse=False).fit(rows), folder / "model.skops")
        return ModelFiles(("INPUT",), ("TRANSFORMED",))

    def test_batches_where_the_file_has_none(self) -> None:  # type: ignore[override]
        pytest.skip("every model takes batches of rows; one row without them is a convenience")
