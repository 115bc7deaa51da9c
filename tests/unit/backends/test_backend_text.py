"""BYTES become text and come back as they were, whatever is in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.text import bytes_array, text_array, texts
from atoll.errors import InvalidArgumentError

WORDS = st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=6, max_size=6)


@given(words=WORDS, shape=st.sampled_from([(6,), (2, 3), (1, 6, 1)]))
def test_text_comes_back(words: list[str], shape: tuple[int, ...]) -> None:
    array = bytes_array(words, shape)
    assert (array.shape, array.dtype) == (shape, np.object_)
    assert array.ravel().tolist() == [word.encode() for word in words]
    assert texts("IN", array) == words
    assert text_array("IN", array).shape == shape
    assert text_array("IN", array).ravel().tolist() == words


@pytest.mark.parametrize("shape", [(), (0,), (2, 0)])
def test_scalars_and_arrays_of_nothing(shape: tuple[int, ...]) -> None:
    words = ["a\0"] if shape == () else []
    array = bytes_array(words, shape)
    assert array.shape == text_array("IN", array).shape == shape
    assert texts("IN", array) == words


def test_what_is_not_utf8_is_the_requests_fault() -> None:
    array = np.empty(1, np.object_)
    array[0] = b"\xff"
    with pytest.raises(InvalidArgumentError, match="input 'IN' must be UTF-8"):
        texts("IN", array)
