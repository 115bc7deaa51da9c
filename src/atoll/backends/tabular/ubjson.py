"""Universal Binary JSON as XGBoost writes it, read with bounds on everything. Pure."""

import struct
from typing import Any

import numpy as np

MOST_NESTED = 64
_NUMBERS = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q", "d": "f", "D": "d"}
_CONSTANTS = {"T": True, "F": False, "Z": None}


def read_ubjson(data: bytes) -> Any:
    """The document; arrays of one type of numbers are numpy's. Raises ValueError saying where the bytes are wrong."""
    reader = _Reader(data)
    found = reader.value(reader.marker(), 0)
    if reader.position != len(data):
        raise ValueError(f"{len(data) - reader.position} bytes follow its end")
    return found


class _Reader:
    def __init__(self, data: bytes):
        self._data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        start, end = self.position, self.position + size
        if size < 0 or end > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data)}, where {size} more are announced at byte {start}")
        self.position = end
        return self._data[start:end]

    def marker(self) -> str:
        while True:
            found = self.take(1).decode("latin-1")
            if found != "N":  # which stands for nothing
                return found

    def number(self, marker: str) -> Any:
        code = _NUMBERS.get(marker)
        if code is None:
            raise ValueError(f"byte {self.position - 1} is no number's type")
        return struct.unpack(f">{code}", self.take(struct.calcsize(code)))[0]

    def size(self) -> int:
        found = self.number(self.marker())
        if not isinstance(found, int) or found < 0:
            raise ValueError(f"the size before byte {self.position} is {found}")
        return found

    def text(self) -> str:
        return self.take(self.size()).decode("utf-8")

    def value(self, marker: str, depth: int) -> Any:
        if depth > MOST_NESTED:
            raise ValueError(f"it is nested more than {MOST_NESTED} deep")
        if marker == "{":
            return self.mapping(depth)
        if marker == "[":
            return self.array(depth)
        if marker == "S":
            return self.text()
        if marker == "C":
            return self.take(1).decode("latin-1")
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        return self.number(marker)

    def mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            marker = self.marker()
            if marker == "}":
                return found
            name = self.take(self.number_as_size(marker)).decode("utf-8")
            if name in found:  # of two, others may go by the first
                raise ValueError(f"the key before byte {self.position} is there twice")
            found[name] = self.value(self.marker(), depth + 1)

    def number_as_size(self, marker: str) -> int:
        found = self.number(marker)
        if not isinstance(found, int) or found < 0:
            raise ValueError(f"the size before byte {self.position} is {found}")
        return found

    def array(self, depth: int) -> Any:
        marker = self.marker()
        if marker == "$":
            kind = self.marker()
            if self.marker() != "#":
                raise ValueError(f"byte {self.position - 1} should announce a size")
            count = self.size()
            code = _NUMBERS.get(kind)
            if code is None:
                raise ValueError(f"an array of type {kind!r} ends before byte {self.position}")
            return np.frombuffer(self.take(count * struct.calcsize(code)), np.dtype(f">{code}"))
        if marker == "#":
            return [self.value(self.marker(), depth + 1) for _ in range(self.size())]
        found: list[Any] = []
        while marker != "]":
            found.append(self.value(marker, depth + 1))
            marker = self.marker()
        return found
