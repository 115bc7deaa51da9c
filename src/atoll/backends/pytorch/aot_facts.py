"""What a package of AOTInductor says of its model: on what it runs, what it takes. Read without PyTorch.

The library in a package says no types and no shapes, and does not look at what it is given. Beside the library lies
the C++ source that it was made of, with the tests of inputs in it (which that code runs only when asked to): these are
read here, so that a configuration which disagrees is refused before anything is executed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.backends.pytorch.archive import Records
from atoll.tensor import BY_DTYPE_NAME, DataType

_FOLDER = "data/aotinductor/"
_CHECK = re.compile(r"void check_input_(\d{1,4})\(.*?\n\}", re.DOTALL)
_TYPE = re.compile(r"_expected_dtype = aoti_torch_dtype_(\w+)\(\)")
_FIXED = re.compile(r"if \((\d{1,18})L? != \w+_size\[(\d{1,2})\]\)")
_MENTIONED = re.compile(r"\w+_(?:size|stride)\[(\d{1,2})\]")


@dataclass(frozen=True, slots=True)
class InputFacts:
    """Of one input, by position; INVALID and None where the package does not say."""

    data_type: DataType = DataType.INVALID
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """`model`: its name inside the package. `device`: "cpu" or "cuda". `metadata`: all that the package says."""

    model: str
    device: str
    metadata: Mapping[str, str]
    inputs: Mapping[int, InputFacts]


def package_facts(records: Records) -> PackageFacts:
    """Of an open package. Raises ValueError where it has no model, or several of which none is named "model"."""
    names = sorted({name.removeprefix(_FOLDER).partition("/")[0] for name in records.names(_FOLDER)})
    if "model" not in names and len(names) != 1:
        raise ValueError(f"it has {len(names)} models ({', '.join(names)}), of which none is named 'model'")
    model = "model" if "model" in names else names[0]
    metadata: dict[str, str] = {}
    source = ""
    for name in records.names(f"{_FOLDER}{model}/"):
        if name.endswith("wrapper_metadata.json") or (name.endswith("_metadata.json") and not metadata):
            metadata = {key: str(value) for key, value in records.document(name).items()}
        elif name.endswith(".wrapper.cpp"):
            source = records.read(name).decode("utf-8", "replace")
    return PackageFacts(model, metadata.get("AOTI_DEVICE_KEY", "cpu"), metadata, inputs_in(source))


def inputs_in(source: str) -> Mapping[int, InputFacts]:
    """What the tests in a generated C++ source say of the inputs; nothing of those that have no such test."""
    return {int(found[1]): _input(found[0]) for found in _CHECK.finditer(source)}


def _input(check: str) -> InputFacts:
    name = _TYPE.search(check)
    datatype = BY_DTYPE_NAME.get(name[1], DataType.INVALID) if name else DataType.INVALID
    mentioned = {int(index) for index in _MENTIONED.findall(check)}
    rank = max(mentioned, default=-1) + 1
    if not rank or mentioned != set(range(rank)):  # a scalar, or a dimension of which nothing is said
        return InputFacts(datatype)
    fixed = {int(index): int(size) for size, index in _FIXED.findall(check)}
    return InputFacts(datatype, tuple(fixed.get(index, -1) for index in range(rank)))


def mismatch(metadata: Mapping[str, Any], *, system: str, machine: str, vectors: str) -> str:
    """Why machine code made elsewhere cannot run here: "" where it can. `vectors`: this processor's best, as PyTorch
    calls it: "AVX512", "AVX2", "DEFAULT".
    """
    for key, here in (("AOTI_PLATFORM", system), ("AOTI_MACHINE", machine)):
        there = str(metadata.get(key, here))
        if there != here:
            return f"it was compiled for {there}, but this is {here}: compile it here"
    wanted = str(metadata.get("AOTI_CPU_ISA", "")).split(" ")[0]
    if wanted.startswith("AVX512") and "AVX512" not in vectors.upper():
        return f"it was compiled for a processor with AVX512, but this one has {vectors}: compile it on such a one"
    return ""
