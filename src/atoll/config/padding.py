"""How inputs of different lengths are padded to run together: a model's parameter `padding`, a JSON object."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, suggestion
from atoll.tensor import BY_CONFIG_NAME, DataType

PATH = "parameters['padding']"
MAX_TEXT = 1 << 20
MAX_BUCKETS = 1024
MAX_LENGTH = 2**31 - 1

KEYS = ("inputs", "outputs", "buckets", "separate_buckets")
INPUT_KEYS = ("value", "buckets", "mask", "length")
MADE_KEYS = ("name", "data_type")  # of a mask or a length
MADE_TYPES = tuple(
    one for one in DataType if one not in (DataType.INVALID, DataType.BYTES, DataType.BF16)
)  # of masks and lengths


@dataclass(frozen=True, slots=True)
class MadeInput:
    """An input of the model that the server makes, as no client sends it."""

    name: str
    data_type: DataType = DataType.INT64


@dataclass(frozen=True, slots=True)
class PaddedInput:
    """An input whose variable dimensions are padded.

    `buckets` are the sizes that a variable dimension may be padded to, ascending: none (to the longest of the batch),
    one tuple for all variable dimensions, or one for each in their order. `mask` is 1 where there is data, 0 where
    there is padding, in the shape of the variable dimensions; `length` has the sizes of the variable dimensions.
    """

    name: str
    value: bool | int | float | str | None = None
    buckets: tuple[tuple[int, ...], ...] = ()
    mask: MadeInput | None = None
    length: MadeInput | None = None


@dataclass(frozen=True, slots=True)
class CutOutput:
    """An output that is cut back: `sources` are the padded inputs whose sizes its variable dimensions have.

    With `in_order` it is a single one, whose variable dimensions are the output's own, in their order; else there is
    one with a single variable dimension for each of the output's, None for one that stays as it is.
    """

    name: str
    sources: tuple[str | None, ...]
    in_order: bool


@dataclass(frozen=True, slots=True)
class Padding:
    """`separate_buckets`: requests whose buckets differ do not share a batch."""

    inputs: Mapping[str, PaddedInput] = field(default_factory=dict)
    outputs: Mapping[str, CutOutput] = field(default_factory=dict)
    separate_buckets: bool = False

    def buckets(self, name: str, dims: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """The buckets of each variable dimension of an input; empty where it is not padded, or to the longest."""
        padded = self.inputs.get(name)
        if padded is None:
            return ()
        return padded.buckets * sum(dim < 0 for dim in dims) if len(padded.buckets) == 1 else padded.buckets

    def made_inputs(self) -> Iterator[tuple[str, MadeInput, PaddedInput]]:
        """The masks and lengths: the kind of each, what it is, what it is made for."""
        for one in self.inputs.values():
            if one.mask is not None:
                yield "mask", one.mask, one
            if one.length is not None:
                yield "length", one.length, one


NO_PADDING = Padding()


def read_padding(config: ModelConfig) -> Padding:
    """What the parameter says; what cannot be read of it is left out."""
    text = config.parameter("padding")
    return parse_padding(text)[0] if text else NO_PADDING


def parse_padding(text: str) -> tuple[Padding, list[Problem]]:
    """The parameter's text, and what is wrong with it in itself."""
    reader = _Reader()
    return reader.padding(text), reader.problems


def padding_value(value: bool | int | float | str | None, datatype: DataType) -> object:
    """What padding of this type is filled with, as its arrays hold it; None where `value` is none of that type.

    Without a value it is 0, false or the empty string. BF16 are rounded to the nearest.
    """
    if datatype is DataType.BYTES:
        return ("" if value is None else value).encode() if value is None or isinstance(value, str) else None
    if value is None:
        value = False if datatype is DataType.BOOL else 0
    if isinstance(value, str) or isinstance(value, bool) != (datatype is DataType.BOOL):
        return None
    if isinstance(value, int) and abs(value) >= 1 << 64:  # no type has it, and a float cannot be made of all
        return None
    kind = datatype.dtype.kind
    if datatype is not DataType.BF16 and kind in "iu":
        limits = np.iinfo(datatype.dtype)
        return datatype.dtype.type(value) if isinstance(value, int) and limits.min <= value <= limits.max else None
    largest = _LARGEST_BF16 if datatype is DataType.BF16 else float(np.finfo(datatype.dtype).max) if kind == "f" else 1
    if math.isfinite(value) and abs(value) > largest:
        return None
    return _bf16(float(value)) if datatype is DataType.BF16 else datatype.dtype.type(value)


_LARGEST_BF16 = 3.3895313892515355e38


def _bf16(value: float) -> np.uint16:
    if math.isnan(value):
        return np.uint16(0x7FC0)
    bits = int(np.float32(value).view(np.uint32))
    return np.uint16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


class _Reader:
    """Reads the document piece by piece, and keeps what is wrong."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, where: str, message: str, found: object, expected: str, remedy: str = "") -> None:
        text = found if isinstance(found, str) else json.dumps(found, default=str)
        shown = text if len(text) <= 100 else f"{text[:100]}..."
        self.problems.append(Problem(PATH, f"{where}: {message}", shown, expected, remedy))

    def padding(self, text: str) -> Padding:
        try:
            document = json.loads(text) if len(text) <= MAX_TEXT else None
        except (ValueError, RecursionError) as error:
            self.wrong(
                "padding", f"is not JSON ({error})", text, "a JSON object such as {...}".replace("...", '"inputs": {}')
            )
            return NO_PADDING
        fields = self.fields("padding", document, KEYS)
        common = self.buckets("padding.buckets", fields.get("buckets"))
        inputs = {
            name: self.input(f"padding.inputs.{name}", name, one, common)
            for name, one in self.named("padding.inputs", fields.get("inputs", {})).items()
        }
        outputs = {
            name: cut
            for name, one in self.named("padding.outputs", fields.get("outputs", {})).items()
            if (cut := self.output(f"padding.outputs.{name}", name, one)) is not None
        }
        separate = fields.get("separate_buckets", False)
        if not isinstance(separate, bool):
            self.wrong("padding.separate_buckets", "must be true or false", separate, "true or false")
        if document is not None and not inputs and not self.problems:
            self.wrong("padding", "names no input to pad", text, '"inputs": {"NAME": {}}')
        return Padding(inputs, outputs, separate is True)

    def named(self, where: str, found: Any) -> dict[str, Any]:
        if isinstance(found, dict):
            return found
        self.wrong(where, "must be an object", found, "an object with a key for each tensor")
        return {}

    def fields(self, where: str, found: Any, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(found, dict):
            self.wrong(where, "must be an object", found, f"an object with some of {', '.join(known)}")
            return {}
        for key in found:
            if key not in known:
                near = suggestion(key, known)
                remedy = f"Did you mean '{near}'?" if near else "Remove it."
                self.wrong(where, f"unknown key '{key}'", f"'{key}'", f"one of {', '.join(known)}", remedy)
        return found

    def input(self, where: str, name: str, found: Any, common: tuple[tuple[int, ...], ...]) -> PaddedInput:
        fields = self.fields(where, found, INPUT_KEYS)
        value = fields.get("value")
        if not isinstance(value, (bool, int, float, str, type(None))):
            self.wrong(f"{where}.value", "must be a single value", value, "a number, true, false or a string")
            value = None
        return PaddedInput(
            name,
            value,
            self.buckets(f"{where}.buckets", fields["buckets"]) if "buckets" in fields else common,
            self.made(f"{where}.mask", fields.get("mask")),
            self.made(f"{where}.length", fields.get("length")),
        )

    def buckets(self, where: str, found: Any) -> tuple[tuple[int, ...], ...]:
        expected = "ascending whole numbers from 1, or a list of such for each variable dimension"
        if found is None:
            return ()
        if isinstance(found, list) and found:
            lists = found if all(isinstance(one, list) for one in found) else [found]
            if all(_ascending(one) for one in lists):
                return tuple(tuple(one) for one in lists)
        self.wrong(where, "is no list of sizes", found, expected)
        return ()

    def made(self, where: str, found: Any) -> MadeInput | None:
        if found is None:
            return None
        fields = {"name": found} if isinstance(found, str) else self.fields(where, found, MADE_KEYS)
        name, data_type = fields.get("name"), fields.get("data_type", "TYPE_INT64")
        if not isinstance(name, str) or not name:
            self.wrong(where, "must name an input of the model", found, 'a name, or {"name": ..., "data_type": ...}')
            return None
        known = BY_CONFIG_NAME.get(data_type) if isinstance(data_type, str) else None
        if known not in MADE_TYPES:
            names = ", ".join(one.config_name for one in MADE_TYPES)
            self.wrong(f"{where}.data_type", "is no type that it can have", data_type, f"one of {names}")
            return None
        return MadeInput(name, known)

    def output(self, where: str, name: str, found: Any) -> CutOutput | None:
        if isinstance(found, str):
            return CutOutput(name, (found,), in_order=True)
        if isinstance(found, list) and found and all(isinstance(one, str) or one is None for one in found):
            return CutOutput(name, tuple(found), in_order=False)
        expected = "the name of a padded input, or a list with a name or null for each variable dimension"
        self.wrong(where, "must say which input's sizes it has", found, expected)
        return None


def _ascending(sizes: Any) -> bool:
    if not isinstance(sizes, list) or not 0 < len(sizes) <= MAX_BUCKETS:
        return False
    if not all(type(one) is int and 0 < one <= MAX_LENGTH for one in sizes):
        return False
    return all(one < other for one, other in pairwise(sizes))
