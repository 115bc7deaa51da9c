"""A ModelInferRequest as it was sent, and a memory of the ones that repeat but for their tensors' data."""

from collections.abc import Sequence
from typing import Any, Final

from atoll.protocol.grpc_parameters import Parameters
from atoll.protocol.shared_memory import PlacedInput, PlacedOutput
from atoll.tensor import Buffer, DataType

InputEntry = tuple[str, DataType, tuple[int, ...]] | Any
"""What is known of an input: its description where that is all the message has on it, a PlacedInput where its data is
in shared memory, else protobuf's object.
"""

RAW_INPUTS: Final = 7 << 3 | 2
"""The tag of raw_input_contents: field 7, a length follows."""


class InferMessage:
    """Well-formed, and nothing more."""

    __slots__ = ("id", "inputs", "model_name", "model_version", "outputs", "parameters", "raw")

    model_name: str
    model_version: str
    id: str
    parameters: Any
    """None, Parameters, or protobuf's map of InferParameter where there is something wrong with them."""
    inputs: list[InputEntry]
    outputs: list[Any]
    """Each a name, a PlacedOutput, or protobuf's object if it has other parameters."""
    raw: Sequence[Buffer]


def varint(number: int) -> bytes:
    """A number in protobuf's base-128 form."""
    if number < 0x80:
        return _ONE_BYTE[number]
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_ONE_BYTE = [bytes([number]) for number in range(0x80)]


class _Known:
    """A message whose data comes last: all before it, the bytes between the data, and what the message says."""

    __slots__ = ("between", "data", "head", "inputs", "model_name", "model_version", "outputs", "parameters")

    def __init__(self, head: bytes, between: list[tuple[bytes, int]], data: list[tuple[int, int]], said: InferMessage):
        self.head = head
        self.between = between  # bytes that stand at a position
        self.data = data  # from, to
        self.model_name = said.model_name
        self.model_version = said.model_version
        self.parameters = said.parameters
        self.inputs = said.inputs
        self.outputs = said.outputs


class MessageMemory:
    """Messages of a structure that was read before, recognised by comparing everything but the data. Bounded.

    A message with an id is not kept: the next one has another. Not thread-safe.
    """

    LENGTHS: Final = 256
    EACH: Final = 4  # of one length
    LONGEST_HEAD: Final = 2048

    def __init__(self) -> None:
        self._known: dict[int, list[_Known]] = {}

    def find(self, message: bytes) -> InferMessage | None:
        """What reading the message would give, if one of its structure is known."""
        for known in self._known.get(len(message), ()):
            if message.startswith(known.head) and all([message.startswith(b, at) for b, at in known.between]):
                found = InferMessage()
                found.id = ""
                found.model_name = known.model_name
                found.model_version = known.model_version
                found.parameters = known.parameters
                found.inputs = known.inputs
                found.outputs = known.outputs
                view = memoryview(message)
                found.raw = [view[start:stop] for start, stop in known.data]
                return found
        return None

    def remember(self, message: bytes, read: InferMessage) -> None:
        """Keep the structure of a message that was read in full, if it is one that may come again."""
        if read.id or not _is_plain(read):
            return
        position = len(message)
        data: list[tuple[int, int]] = []
        between: list[tuple[bytes, int]] = []
        for raw in reversed(read.raw):
            start = position - len(raw)
            prefix = bytes([RAW_INPUTS]) + varint(len(raw))
            data.append((start, position))
            position = start - len(prefix)
            if position < 0 or not message.startswith(prefix, position):
                return  # the data is not what comes last
            between.append((prefix, position))
        head_end = data[-1][0] if data else len(message)
        if head_end > self.LONGEST_HEAD:
            return
        if len(self._known) >= self.LENGTHS:
            self._known.clear()
        same_length = self._known.setdefault(len(message), [])
        if len(same_length) == self.EACH:
            del same_length[0]
        same_length.append(_Known(message[:head_end], between[-2::-1], data[::-1], read))


def _is_plain(read: InferMessage) -> bool:
    """Whether nothing in it is protobuf's object, which whoever gets it might change."""
    return (
        (read.parameters is None or isinstance(read.parameters, Parameters))
        and all(isinstance(entry, (tuple, PlacedInput)) for entry in read.inputs)
        and all(isinstance(output, (str, PlacedOutput)) for output in read.outputs)
    )
