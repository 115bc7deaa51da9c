"""Files that end early, of every framework: the error names the file, or what is missing does not matter."""

import os

import numpy as np
import pytest
from tests.backends.bad_input.model_files import FORMATS, Frail

TENTHS = (0, 1, 3, 5, 9)
BYTES_BEFORE_THE_END = (1, 60)
IMAGES = np.random.default_rng(7).random((2, 64), np.float32) * 16


@pytest.mark.parametrize("name", [one.name for one in FORMATS.values() if one.path is not None])
def test_files_that_are_cut_off(frail: Frail, name: str) -> None:
    given = FORMATS[name]
    images = IMAGES.reshape(2, *given.pixels)
    whole, folder = frail.folder()
    given.put(folder)
    (folder.parent / "config.pbtxt").write_text(given.config())
    assert frail.load(whole) == ""
    expected, error = frail.answer(whole, images)
    assert error == ""
    assert expected.shape == (2, 10)
    refused = 0
    for number, file in enumerate(given.files(folder)):
        size = file.stat().st_size
        lengths = {4, *(size * one // 10 for one in TENTHS), *(size - one for one in BYTES_BEFORE_THE_END)}
        for length in sorted(one for one in lengths if 0 <= one < size):
            model, other = frail.folder()
            path = given.put(other)
            os.truncate(given.files(other)[number], length)
            (other.parent / "config.pbtxt").write_text(given.config())
            text = frail.load(model)
            if text:
                refused += 1
                assert str(path) in text, f"{file.name}, {length} of {size} bytes: {text}"
                assert len(text) < 4000
                continue
            assert length > size * 0.9, f"{file.name} was loaded with {length} of {size} bytes"
            found, error = frail.answer(model, images)
            assert error == ""
            np.testing.assert_array_equal(found, expected, f"{file.name}, {length} of {size} bytes")
            frail.unload(model)
    assert refused >= len(TENTHS)
    frail.unload(whole)
    frail.serves()
