"""BYTES of a batch as text and back, for frameworks that have strings of characters."""

from collections.abc import Iterable

import numpy as np

from atoll.errors import InvalidArgumentError
from atoll.tensor import Array


def texts(name: str, array: Array) -> list[str]:
    """The elements of the input of that name, in C order; NULs inside them stay.

    Raises InvalidArgumentError for what is not UTF-8.
    """
    try:
        return [element.decode("utf-8") for element in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"input '{name}' must be UTF-8, but an element of it is not: {error}") from error


def text_array(name: str, array: Array) -> Array:
    """The same in an array of `str` objects: numpy's own strings end at the first NUL."""
    return _objects(texts(name, array), array.shape)


def bytes_array(elements: Iterable[str], shape: tuple[int, ...]) -> Array:
    """Text as BYTES of that shape."""
    return _objects([element.encode("utf-8") for element in elements], shape)


def _objects(elements: list[str] | list[bytes], shape: tuple[int, ...]) -> Array:
    flat = np.empty(len(elements), np.object_)
    flat[:] = elements
    return flat.reshape(shape)
