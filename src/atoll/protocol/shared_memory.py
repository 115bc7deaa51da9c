"""What a request says of shared memory: which part of which region holds an input, or is to hold an output.

Sources: Triton's system and CUDA shared memory extensions; texts and codes are the real server's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from atoll.errors import InternalError, InvalidArgumentError, NotFoundError, PermissionDeniedError
from atoll.request import InferenceResponse, Parameter
from atoll.tensor import Buffer, DataType, Tensor

REGION: Final = "shared_memory_region"
OFFSET: Final = "shared_memory_offset"
BYTE_SIZE: Final = "shared_memory_byte_size"

_LARGEST = 2**64 - 1
_STRING = "attempt to access JSON non-string as string"
_INTEGER = "attempt to access JSON non-unsigned-integer as unsigned-integer"


@dataclass(frozen=True, slots=True)
class Place:
    """`byte_size` bytes of a region, from `offset` on."""

    region: str
    offset: int
    byte_size: int


class Region(Protocol):
    """A registered region, usable for as long as it is held, even when it is not registered any more. Thread-safe."""

    @property
    def byte_size(self) -> int: ...

    def read(self, offset: int, byte_size: int) -> Buffer:
        """Those bytes, not to be written to: in the region itself where that can be. Raises AtollError."""

    def write(self, offset: int, tensor: Tensor, byte_size: int) -> int:
        """Put a tensor's wire form there; how long it is. Where it is longer than `byte_size` nothing is written.
        Raises AtollError.
        """

    def check(self) -> None:
        """Raises InvalidArgumentError where what was read or written may have been lost in the meantime."""


class Regions(Protocol):
    """The regions that there are. `caching`: the server keeps answers, those of ensembles' steps among them."""

    caching: bool

    def region(self, name: str) -> Region:
        """Raises NotFoundError for a name that is not registered."""


class NoRegions:
    """Where clients may not share memory."""

    caching = False

    def region(self, name: str) -> Region:
        raise NotFoundError(
            f"Unable to find shared memory region: '{name}': this server shares no memory with clients, "
            "--allow-client-shm=true lets it"
        )


NO_REGIONS: Final = NoRegions()


class ForbiddenRegions:
    """For clients that may not use what others share with the server."""

    caching = False

    def region(self, name: str) -> Region:
        raise PermissionDeniedError(
            "the API key does not have the scope 'shared-memory', without which no shared memory region can be used"
        )


FORBIDDEN_REGIONS: Final = ForbiddenRegions()


class Placement:
    """Which of one request's tensors are in regions, and these regions, held until the request is answered."""

    __slots__ = ("inputs", "lent", "outputs", "regions", "sources", "targets")

    def __init__(self, regions: Regions):
        self.regions = regions
        self.inputs: dict[str, Place] = {}
        self.outputs: dict[str, Place] = {}
        self.lent: list[Buffer] = []  # the inputs' bytes, where they lie in regions
        self.sources: list[Region] = []
        self.targets: dict[str, tuple[Region, Place]] = {}

    def input(self, name: str, place: Place, datatype: DataType) -> Buffer:
        """The bytes of an input that lie there. Raises NotFoundError, InvalidArgumentError.

        Texts are copied: what their lengths are checked against must not change afterwards.
        """
        region = self.regions.region(place.region)
        _check(place, region)
        data = region.read(place.offset, place.byte_size)
        self.inputs[name] = place
        self.sources.append(region)
        if datatype is DataType.BYTES:
            return bytes(data)
        self.lent.append(data)
        return data

    def output(self, name: str, place: Place) -> None:
        """Let an output go there. Raises as `input`."""
        region = self.regions.region(place.region)
        _check(place, region)
        self.outputs[name] = place
        self.targets[name] = (region, place)

    def detach(self, inputs: Mapping[str, Tensor]) -> None:
        """Let the request's inputs be copies, which nobody changes."""
        for name in self.inputs:
            tensor = inputs[name]
            if tensor.buffer is not None:
                tensor.buffer = bytes(tensor.buffer)
        self.lent.clear()


class PlacedResponse(InferenceResponse):
    """A response of which the outputs in `placed` have been written to regions: they are empty here."""

    __slots__ = ("placed",)

    def __init__(self, response: InferenceResponse, placed: Collection[str]):
        outputs = [
            Tensor(one.name, one.datatype, one.shape, buffer=b"") if one.name in placed else one
            for one in response.outputs
        ]
        super().__init__(response.model_name, response.model_version, response.id, outputs, response.parameters)
        self.placed = placed


@dataclass(frozen=True, slots=True)
class PlacedInput:
    """An input of a gRPC message whose data is in a region."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class PlacedOutput:
    """An output of a gRPC message that is to go to a region."""

    name: str
    place: Place


def too_small(name: str, given: int, needed: int) -> InternalError:
    """The error of an output for which its place is too small."""
    return InternalError(
        f"shared memory size specified with the request for output '{name}' ({given} bytes) should be at least "
        f"{needed} bytes to hold the results"
    )


def _check(place: Place, region: Region) -> None:
    size = region.byte_size
    if place.offset >= size:
        text = f"Invalid offset for shared memory region: '{place.region}'"
        raise InvalidArgumentError(f"{text}: {place.offset} of {size} bytes")
    if not 0 < place.byte_size <= size - place.offset:
        text = f"Invalid offset + byte size for shared memory region: '{place.region}'"
        raise InvalidArgumentError(f"{text}: {place.offset} + {place.byte_size}, of {size} bytes; no tensor is empty")


# ---- in JSON


def check_without_region(parameters: Mapping[str, Any]) -> None:
    """What the parameters of a tensor without a region say of a place must be numbers. Raises InternalError."""
    for key in (OFFSET, BYTE_SIZE):
        if key in parameters:
            _unsigned(parameters, key)


def place_from_json(parameters: Mapping[str, Any]) -> Place:
    """The place that a tensor's parameters name. Raises InternalError where one is of the wrong type."""
    region = parameters[REGION]
    if type(region) is not str:
        raise InternalError(f"Unable to parse '{REGION}': {_STRING}")
    return Place(region, _unsigned(parameters, OFFSET), _unsigned(parameters, BYTE_SIZE))


def _unsigned(parameters: Mapping[str, Any], key: str) -> int:
    value = parameters.get(key, 0)
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise InternalError(f"Unable to parse '{key}': {_INTEGER}")
    return value


def output_place_from_json(parameters: Mapping[str, Any]) -> Place:
    """The same of an output, which must have no other form."""
    place = place_from_json(parameters)
    binary = parameters.get("binary_data", False)
    if type(binary) is not bool:
        raise InternalError("Unable to set 'binary_data': attempt to access JSON non-boolean as boolean")
    if binary:
        raise InvalidArgumentError(f"Output can't set both '{REGION}' and 'binary_data'")
    if "classification" in parameters:
        raise InvalidArgumentError(f"Output can't set both '{REGION}' and 'classification'")
    return place


# ---- in gRPC messages


def place_from_message(tensor: Any) -> Place | None:
    """The place that an input or an output of a message names, if it does. Raises InvalidArgumentError."""
    region: Any = _value(tensor, REGION, "string_param")
    if region is None:
        for key in (OFFSET, BYTE_SIZE):
            if key in tensor.parameters:
                raise InvalidArgumentError(
                    f"'{key}' can not be specified without '{REGION}' parameter for tensor '{tensor.name}'"
                )
        return None
    offset: Any = _value(tensor, OFFSET, "int64_param")
    byte_size: Any = _value(tensor, BYTE_SIZE, "int64_param")
    if byte_size is None:
        raise InvalidArgumentError(
            f"'{BYTE_SIZE}' must be specified along with '{REGION}' parameter for tensor '{tensor.name}'"
        )
    return Place(region, (offset or 0) & _LARGEST, byte_size & _LARGEST)


def _value(tensor: Any, key: str, kind: str) -> Parameter | None:
    if key not in tensor.parameters:
        return None
    parameter = tensor.parameters[key]
    if parameter.WhichOneof("parameter_choice") != kind:
        raise InvalidArgumentError(
            f"invalid value type for '{key}' parameter for tensor '{tensor.name}', expected {kind}."
        )
    value: Parameter = getattr(parameter, kind)
    return value
