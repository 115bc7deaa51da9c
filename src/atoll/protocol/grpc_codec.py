"""ModelInfer's messages: bytes to what a request's message says, an inference response to the pieces of a message.

Nothing large is copied in either direction: a request's tensors are views into the message, a response's pieces are
views of its arrays. The wire format is read by hand where a message has the usual form, which takes half the time that
protobuf's objects take, and by protobuf wherever it has any other; the property tests hold both to the same answers.
"""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError

from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.protocol.grpc_message import RAW_INPUTS, InferMessage, InputEntry, MessageMemory, varint
from atoll.protocol.grpc_parameters import Parameters, read_parameters, write_parameters
from atoll.protocol.grpc_tensors import datatype_named
from atoll.protocol.parameters_key import ParametersKey, parameters_key
from atoll.protocol.schema import message_class
from atoll.protocol.shared_memory import PlacedInput, PlacedOutput, place_from_message
from atoll.request import InferenceResponse, Parameter
from atoll.tensor import Buffer, DataType, Tensor

EncodedMessage = bytes | list[Buffer]

_ModelInferRequest = message_class("inference.ModelInferRequest")
_InferInputTensor = message_class("inference.ModelInferRequest.InferInputTensor")
_InferRequestedOutputTensor = message_class("inference.ModelInferRequest.InferRequestedOutputTensor")
_ModelInferResponse = message_class("inference.ModelInferResponse")
_InferOutputTensor = message_class("inference.ModelInferResponse.InferOutputTensor")
_ModelStreamInferResponse = message_class("inference.ModelStreamInferResponse")

# The tags of the fields that are read and written by hand: number << 3 | 2, a length follows.
_MODEL_NAME, _MODEL_VERSION, _ID, _PARAMETERS, _INPUTS, _OUTPUTS = (n << 3 | 2 for n in range(1, 7))
_RAW_OUTPUT: Final = bytes([6 << 3 | 2])
_INFER_RESPONSE: Final = bytes([2 << 3 | 2])

_REMEMBERED = 1024
"""Entries of each memory of descriptions already seen; a full one is emptied, so that clients cannot make it grow."""
_REMEMBERED_BYTES = 256
_MAX_FIELDS = 16 * 1024
"""Inputs, outputs, raw contents and parameters of one message: each costs Python objects, however few bytes it is."""
_SMALL = 16 * 1024
"""Tensors and messages up to here are copied: that is cheaper than one more buffer on the way to the socket."""


class InferCodec:
    """Decodes requests and encodes responses, and remembers the descriptions of tensors, which clients repeat.

    Not thread-safe: one for each event loop.
    """

    def __init__(self) -> None:
        self._messages = MessageMemory()
        self._inputs: dict[bytes, InputEntry] = {}
        self._outputs: dict[bytes, str | PlacedOutput] = {}
        self._parameters: dict[bytes, Parameters] = {}
        self._parameters_written: dict[ParametersKey, bytes] = {}
        self._models: dict[tuple[str, str], bytes] = {}
        self._descriptions: dict[tuple[str, int, tuple[int, ...]], bytes] = {}

    def parse(self, message: bytes) -> InferMessage:
        """The message's fields.

        InternalError, as the real server has it, if the bytes are not a ModelInferRequest; InvalidArgumentError if it
        has more inputs, outputs and parameters than any real one.
        """
        known = self._messages.find(message)
        if known is not None:
            return known
        try:
            parsed = self._parse_usual(message)
            if parsed is None:
                return _parse_any(message)
            self._messages.remember(message, parsed)
            return parsed
        except DecodeError:
            raise InternalError("Unable to parse request") from None

    def _parse_usual(self, message: bytes) -> InferMessage | None:
        """Reads a message that has only the fields known here; None for any other, malformed ones among them."""
        parsed = InferMessage()
        name = version = request_id = ""
        inputs: list[InputEntry] = []
        outputs: list[Any] = []
        raw: list[Buffer] = []
        parameters: list[bytes] = []
        view = memoryview(message)
        position, end = 0, len(message)
        try:
            for _ in range(_MAX_FIELDS):
                if position == end:
                    break
                start = position
                tag = message[position]
                length = message[position + 1]
                position += 2
                if length > 0x7F:
                    length &= 0x7F
                    shift = 7
                    while True:
                        byte = message[position]
                        position += 1
                        length |= (byte & 0x7F) << shift
                        if byte < 0x80:
                            break
                        shift += 7
                        if shift > 28:  # over 31 bits: longer than a message can be
                            return None
                stop = position + length
                if stop > end:
                    return None
                if tag == RAW_INPUTS:
                    raw.append(view[position:stop])
                elif tag == _INPUTS:
                    piece = message[position:stop]
                    known = self._inputs.get(piece)
                    inputs.append(self._input(piece) if known is None else known)
                elif tag == _OUTPUTS:
                    piece = message[position:stop]
                    found = self._outputs.get(piece)
                    outputs.append(self._output(piece) if found is None else found)
                elif tag == _MODEL_NAME:
                    name = message[position:stop].decode()
                elif tag == _ID:
                    request_id = message[position:stop].decode()
                elif tag == _MODEL_VERSION:
                    version = message[position:stop].decode()
                elif tag == _PARAMETERS:
                    parameters.append(message[start:stop])
                else:
                    return None
                position = stop
            else:
                if position < end:
                    raise _too_many()
        except (IndexError, UnicodeDecodeError):
            return None
        parsed.model_name = name
        parsed.model_version = version
        parsed.id = request_id
        parsed.inputs = inputs
        parsed.outputs = outputs
        parsed.raw = raw
        parsed.parameters = self._read_parameters(b"".join(parameters)) if parameters else None
        return parsed

    def _input(self, piece: bytes) -> InputEntry:
        entry = _input_entry(_InferInputTensor.FromString(piece))
        if isinstance(entry, (tuple, PlacedInput)) and len(piece) <= _REMEMBERED_BYTES:
            _remember(self._inputs, piece, entry)
        return entry

    def _read_parameters(self, encoded: bytes) -> Any:
        known = self._parameters.get(encoded)
        if known is not None:
            return known
        mapping = _ModelInferRequest.FromString(encoded).parameters
        if not len(mapping):  # nothing in it is known
            return None
        try:
            found = read_parameters(mapping)
        except AtollError:
            return mapping  # build_request says what is wrong, when it is their turn
        if len(encoded) <= _REMEMBERED_BYTES:
            _remember(self._parameters, encoded, found)
        return found

    def _output(self, piece: bytes) -> Any:
        entry = _output_entry(_InferRequestedOutputTensor.FromString(piece))
        if isinstance(entry, (str, PlacedOutput)) and len(piece) <= _REMEMBERED_BYTES:
            _remember(self._outputs, piece, entry)
        return entry

    def encode(self, response: InferenceResponse, parameters: bytes = b"") -> EncodedMessage:
        """A ModelInferResponse with these outputs, all of them raw. `parameters` are further ones, already encoded.

        A small message comes joined, a large one as buffers of which the large ones are views of the response's arrays.
        """
        model = self._models.get((response.model_name, response.model_version))
        if model is None:
            model = self._model(response.model_name, response.model_version)
        pieces: list[Buffer] = [model]
        if response.id:
            text = response.id.encode()
            pieces.append(b"\x1a" + varint(len(text)) + text)
        if response.parameters:
            pieces.append(self._written(response.parameters))
        if parameters:
            pieces.append(parameters)
        large = False
        for tensor in response.outputs:
            shape = tensor.shape
            description = self._descriptions.get((tensor.name, tensor.datatype.number, shape))
            pieces.append(self._description(tensor) if description is None else description)
        for tensor in response.outputs:
            data = _data(tensor)
            length = len(data)
            if length > _SMALL:
                large = True
            pieces.append(_RAW_OUTPUT + varint(length))
            pieces.append(data)
        return _joined_where_small(pieces) if large else b"".join(pieces)

    def encode_in_stream(self, response: InferenceResponse, final: bool) -> EncodedMessage:
        """A ModelStreamInferResponse around the same; it says whether it is the last one to its request."""
        message = self.encode(response, _FINAL[final])
        if isinstance(message, bytes):
            return _INFER_RESPONSE + varint(len(message)) + message
        message.insert(0, _INFER_RESPONSE + varint(sum(map(len, message))))
        return message

    def _model(self, name: str, version: str) -> bytes:
        encoded: bytes = _ModelInferResponse(model_name=name, model_version=version).SerializeToString()
        _remember(self._models, (name, version), encoded)
        return encoded

    def _written(self, parameters: Mapping[str, Parameter]) -> bytes:
        """Most answers that have parameters, those of ensembles, have the same."""
        key = parameters_key(parameters)
        known = self._parameters_written.get(key)
        if known is None:
            known = write_parameters(_ModelInferResponse, parameters)
            if len(known) <= _REMEMBERED_BYTES:
                _remember(self._parameters_written, key, known)
        return known

    def _description(self, tensor: Tensor) -> bytes:
        datatype = tensor.datatype
        output = _InferOutputTensor(name=tensor.name, datatype=datatype.protocol_name, shape=tensor.shape)
        encoded: bytes = _ModelInferResponse(outputs=[output]).SerializeToString()
        if len(encoded) <= _REMEMBERED_BYTES:
            _remember(self._descriptions, (tensor.name, datatype.number, tensor.shape), encoded)
        return encoded


def encode_stream_error(text: str, id: str) -> bytes:
    """A ModelStreamInferResponse for a request that was refused before it reached its model."""
    answer = _ModelStreamInferResponse(error_message=_sendable(text))
    answer.infer_response.id = id
    encoded: bytes = answer.SerializeToString()
    return encoded


def encode_stream_end(model_name: str, id: str, final: bool, error: str = "") -> bytes:
    """A ModelStreamInferResponse without outputs: the model failed, or, without an error, ended its responses."""
    answer = _ModelStreamInferResponse()
    if error:
        answer.error_message = _sendable(error)
    answer.infer_response.model_name = model_name
    answer.infer_response.id = id
    answer.infer_response.parameters["triton_final_response"].bool_param = final
    encoded: bytes = answer.SerializeToString()
    return encoded


def _parse_any(message: bytes) -> InferMessage:
    whole = _ModelInferRequest.FromString(message)
    if len(whole.inputs) + len(whole.outputs) + len(whole.raw_input_contents) + len(whole.parameters) > _MAX_FIELDS:
        raise _too_many()
    parsed = InferMessage()
    parsed.model_name = whole.model_name
    parsed.model_version = whole.model_version
    parsed.id = whole.id
    parsed.parameters = whole.parameters if len(whole.parameters) else None
    parsed.inputs = [_input_entry(one) for one in whole.inputs]
    parsed.outputs = [_output_entry(one) for one in whole.outputs]
    parsed.raw = list(whole.raw_input_contents)
    return parsed


def _too_many() -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the request has more than {_MAX_FIELDS} inputs, outputs and parameters: send several requests instead"
    )


def _input_entry(tensor: Any) -> InputEntry:
    if tensor.HasField("contents"):
        return tensor
    if len(tensor.parameters):
        try:
            place = place_from_message(tensor)
        except AtollError:
            return tensor  # build_request says what is wrong, when it is its turn
        if place is not None:
            return PlacedInput(tensor.name, datatype_named(tensor.datatype), tuple(tensor.shape), place)
    return tensor.name, datatype_named(tensor.datatype), tuple(tensor.shape)


def _output_entry(output: Any) -> Any:
    if not len(output.parameters):
        return output.name
    try:
        place = place_from_message(output)
    except AtollError:
        return output
    return output if place is None or "classification" in output.parameters else PlacedOutput(output.name, place)


def _remember(memory: dict[Any, Any], key: object, value: object) -> None:
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value


def _data(tensor: Tensor) -> Buffer:
    """The tensor's wire form, its length in bytes being its `len`."""
    if tensor.buffer is None and tensor.datatype is not DataType.BYTES:
        array = tensor.array()
        if array.nbytes <= _SMALL:
            return array.tobytes()
    packed = tensor.packed()
    return packed.cast("B") if isinstance(packed, memoryview) and packed.format != "B" else packed


def _joined_where_small(pieces: list[Buffer]) -> list[Buffer]:
    """The same bytes in fewer buffers: small neighbours become one."""
    buffers: list[Buffer] = []
    small: list[Buffer] = []
    for piece in pieces:
        if len(piece) <= _SMALL:
            small.append(piece)
            continue
        if small:
            buffers.append(b"".join(small))
            small = []
        buffers.append(piece)
    if small:
        buffers.append(b"".join(small))
    return buffers


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


_FINAL = {final: write_parameters(_ModelInferResponse, {"triton_final_response": final}) for final in (False, True)}
