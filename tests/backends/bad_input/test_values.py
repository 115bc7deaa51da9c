"""Numbers that are none, through the digits model of every framework: they harm neither the server nor a neighbour."""

import numpy as np
import pytest
from tests.backends.bad_input.model_files import FORMATS, Frail

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("name", [one.name for one in FORMATS.values() if one.path is not None])
def test_not_a_number_and_infinities(frail: Frail, name: str) -> None:
    given = FORMATS[name]
    model, folder = frail.folder()
    given.put(folder)
    (folder.parent / "config.pbtxt").write_text(given.config())
    assert frail.load(model) == ""
    good = RANDOM.random((1, *given.pixels), np.float32) * 16
    expected, error = frail.answer(model, good)
    assert error == ""
    for value in (np.nan, np.inf, -np.inf, np.finfo(np.float32).max):
        batch = np.concatenate([good, np.full_like(good, value), good])
        found, error = frail.answer(model, batch)
        if error:  # scikit-learn's own rule; such a request fails alone, as the next ones show
            assert given.name == "sklearn", error
            assert "NaN" in error or "infinity" in error, error
        else:
            assert found.shape == (3, 10)
            np.testing.assert_allclose(found[[0, 2]], np.concatenate([expected, expected]), atol=1e-5)
    found, error = frail.answer(model, good)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    frail.unload(model)
    frail.serves()
