"""The real server inside a process, for scripts written for the in-process Python API: its C library, through ctypes.

Has the names of that API that the script in `script.py` uses, and no more. Runs under the Python of the real server's
environment, which has numpy and nothing of ours.
"""

import ctypes
import json
import os
import queue
import time
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_bool,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from enum import Enum, IntEnum
from pathlib import Path

import numpy as np

HOME = Path(os.environ.get("ORACLE_HOME", Path.home() / ".cache" / "triton-oracle"))
LIB = ctypes.CDLL(str(next((HOME / "server").resolve().parents[1].glob("nvidia_pytriton.libs/libtritonserver*.so"))))

_TEXTS = ("ErrorCodeString", "ErrorMessage", "DataTypeString")
for _name in _TEXTS:
    getattr(LIB, "TRITONSERVER_" + _name).restype = c_char_p
for _name in ("ErrorNew", "ParameterNew", "ParameterBytesNew"):
    getattr(LIB, "TRITONSERVER_" + _name).restype = c_void_p
LIB.TRITONSERVER_ErrorMessage.argtypes = LIB.TRITONSERVER_ErrorCodeString.argtypes = [c_void_p]
LIB.TRITONSERVER_ErrorCode.argtypes = LIB.TRITONSERVER_ErrorDelete.argtypes = [c_void_p]

ALLOCATE = CFUNCTYPE(
    c_void_p, c_void_p, c_char_p, c_size_t, c_int, c_int64, c_void_p,
    POINTER(c_void_p), POINTER(c_void_p), POINTER(c_int), POINTER(c_int64),
)  # fmt: skip
RELEASE_BUFFER = CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_int, c_int64)
RESPOND = CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)
RELEASE_REQUEST = CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)

_KEPT = []  # what the library may still call or write to: the process that records is short


class TritonError(Exception):
    """Any error of the library."""


UnknownError, InternalError, NotFoundError, InvalidArgumentError, UnavailableError, UnsupportedError = (
    type(name, (TritonError,), {})
    for name in (
        "UnknownError", "InternalError", "NotFoundError", "InvalidArgumentError", "UnavailableError",
        "UnsupportedError",
    )
)  # fmt: skip
AlreadyExistsError = type("AlreadyExistsError", (TritonError,), {})
CancelledError = type("CancelledError", (TritonError,), {})
_BY_CODE = (
    UnknownError, InternalError, NotFoundError, InvalidArgumentError, UnavailableError, UnsupportedError,
    AlreadyExistsError, CancelledError,
)  # fmt: skip


class ModelControlMode(Enum):
    """By the library's numbers."""

    NONE, POLL, EXPLICIT = range(3)


class MetricKind(Enum):
    """By the library's numbers."""

    COUNTER, GAUGE, HISTOGRAM = range(3)


class DataType(IntEnum):
    """By the library's numbers."""

    INVALID, BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES, BF16 = range(15)


_DTYPES = {
    np.dtype(np.bool_): DataType.BOOL, np.dtype(np.int32): DataType.INT32, np.dtype(np.int64): DataType.INT64,
    np.dtype(np.float32): DataType.FP32, np.dtype(np.float64): DataType.FP64, np.dtype(np.uint8): DataType.UINT8,
    np.dtype(np.object_): DataType.BYTES,
}  # fmt: skip


def call(name, *arguments):
    """A function of the library; raises its error."""
    function = getattr(LIB, "TRITONSERVER_" + name)
    function.restype = c_void_p
    error = function(*arguments)
    if error:
        raise _taken(error)


def _taken(error):
    kind = _BY_CODE[LIB.TRITONSERVER_ErrorCode(error)]
    raised = kind(LIB.TRITONSERVER_ErrorMessage(error).decode())
    LIB.TRITONSERVER_ErrorDelete(error)
    return raised


def _document(name, *arguments):
    message, text, size = c_void_p(), c_char_p(), c_size_t()
    call(name, *arguments, byref(message))
    call("MessageSerializeToJson", message, byref(text), byref(size))
    found = json.loads(text.value[: size.value])
    call("MessageDelete", message)
    return found


def _text(value):
    return c_char_p(value.encode())


class Server:
    """As the API's, made and used by one thread."""

    def __init__(self, *, model_repository, model_control_mode=ModelControlMode.NONE, startup_models=(), **options):
        self._options = options
        self._repositories = [model_repository] if isinstance(model_repository, str) else model_repository
        self._mode = model_control_mode
        self._startup = startup_models
        self._server = None

    def start(self, wait_until_ready=False):
        options = c_void_p()
        call("ServerOptionsNew", byref(options))
        for path in self._repositories:
            call("ServerOptionsSetModelRepositoryPath", options, _text(path))
        call("ServerOptionsSetModelControlMode", options, c_int(self._mode.value))
        for name in self._startup:
            call("ServerOptionsSetStartupModel", options, _text(name))
        call("ServerOptionsSetServerId", options, _text(self._options.get("server_id", "triton")))
        call("ServerOptionsSetBackendDirectory", options, _text(str(HOME / "server" / "backends")))
        call("ServerOptionsSetStrictModelConfig", options, c_bool(self._options.get("strict_model_config", True)))
        call("ServerOptionsSetExitOnError", options, c_bool(self._options.get("exit_on_error", True)))
        call("ServerOptionsSetExitTimeout", options, c_uint32(self._options.get("exit_timeout", 30)))
        for level in ("Info", "Warn", "Error"):
            call("ServerOptionsSetLog" + level, options, c_bool(False))
        call("ServerOptionsSetModelLoadRetryCount", options, c_uint32(0))  # it has no default
        server = c_void_p()
        try:
            call("ServerNew", byref(server), options)
        finally:
            call("ServerOptionsDelete", options)
        self._server = server
        return self

    def stop(self):
        call("ServerStop", self._server)
        call("ServerDelete", self._server)
        self._server = None

    def _asked(self, name):
        value = c_bool()
        call(name, self._server, byref(value))
        return value.value

    def live(self):
        return self._asked("ServerIsLive")

    def ready(self):
        return self._asked("ServerIsReady")

    def metadata(self):
        return _document("ServerMetadata", self._server)

    def models(self, exclude_not_ready=False):
        lines = _document("ServerModelIndex", self._server, c_uint32(int(exclude_not_ready)))
        return {
            (one["name"], int(one.get("version", -1))): Model(
                self._server, one["name"], int(one.get("version", -1)), one.get("state"), one.get("reason")
            )
            for one in lines
        }

    def model(self, name, version=-1):
        return Model(self._server, name, version)

    def load(self, name, parameters=None):
        made = []
        for key, value in (parameters or {}).items():
            if isinstance(value, bytes):
                one = LIB.TRITONSERVER_ParameterBytesNew(_text(key), value, c_uint64(len(value)))
            else:
                one = LIB.TRITONSERVER_ParameterNew(_text(key), c_int(0), _text(value))
            made.append(one)
        array = (c_void_p * len(made))(*made)
        call("ServerLoadModelWithParameters", self._server, _text(name), array, c_uint64(len(made)))
        return self.model(name)

    def unload(self, model, unload_dependents=False, wait_until_unloaded=False):
        name = model.name if isinstance(model, Model) else model
        call("ServerUnloadModelAndDependents" if unload_dependents else "ServerUnloadModel", self._server, _text(name))
        while wait_until_unloaded and any(
            one.state not in (None, "UNAVAILABLE") for (key, _), one in self.models().items() if key == name
        ):
            time.sleep(0.05)

    def register_model_repository(self, repository_path, name_mapping=None):
        names = [
            LIB.TRITONSERVER_ParameterNew(_text(folder), c_int(0), _text(name))
            for folder, name in (name_mapping or {}).items()
        ]
        array = (c_void_p * len(names))(*names)
        call("ServerRegisterModelRepository", self._server, _text(repository_path), array, c_uint32(len(names)))

    def unregister_model_repository(self, repository_path):
        call("ServerUnregisterModelRepository", self._server, _text(repository_path))

    def poll_model_repository(self):
        call("ServerPollModelRepository", self._server)

    def metrics(self):
        metrics, text, size = c_void_p(), c_char_p(), c_size_t()
        call("ServerMetrics", self._server, byref(metrics))
        call("MetricsFormatted", metrics, c_int(0), byref(text), byref(size))
        page = text.value.decode()
        call("MetricsDelete", metrics)
        return page


class Model:
    """As the API's."""

    def __init__(self, server, name, version, state=None, reason=None):
        self._server, self.name, self.version, self.state, self.reason = server, name, version, state, reason

    def _place(self):
        return self._server, _text(self.name), c_int64(self.version)

    def metadata(self):
        return _document("ServerModelMetadata", *self._place())

    def config(self, config_version=1):
        return _document("ServerModelConfig", *self._place(), c_uint32(config_version))

    def statistics(self):
        return _document("ServerModelStatistics", *self._place())

    def ready(self):
        value = c_bool()
        call("ServerModelIsReady", *self._place(), byref(value))
        return value.value

    def _properties(self, name):
        flags, data = c_uint32(), c_void_p()
        call(name, *self._place(), byref(flags), byref(data))
        return flags.value

    def batch_properties(self):
        return self._properties("ServerModelBatchProperties")

    def transaction_properties(self):
        return self._properties("ServerModelTransactionProperties")

    def infer(
        self,
        *,
        inputs,
        request_id=None,
        flags=0,
        correlation_id=None,
        priority=0,
        timeout=0,
        parameters=None,
        raise_on_error=True,
    ):
        answers = queue.SimpleQueue()
        kept = []
        _KEPT.append(kept)
        request, allocator = c_void_p(), c_void_p()
        call("InferenceRequestNew", byref(request), *self._place())
        if request_id is not None:
            call("InferenceRequestSetId", request, _text(request_id))
        call("InferenceRequestSetFlags", request, c_uint32(flags))
        if isinstance(correlation_id, str):
            call("InferenceRequestSetCorrelationIdString", request, _text(correlation_id))
        elif correlation_id is not None:
            call("InferenceRequestSetCorrelationId", request, c_uint64(correlation_id))
        call("InferenceRequestSetPriorityUInt64", request, c_uint64(priority))
        call("InferenceRequestSetTimeoutMicroseconds", request, c_uint64(timeout))
        for name, value in (parameters or {}).items():
            if isinstance(value, bool):
                call("InferenceRequestSetBoolParameter", request, _text(name), c_bool(value))
            elif isinstance(value, int):
                call("InferenceRequestSetIntParameter", request, _text(name), c_int64(value))
            elif isinstance(value, float):
                call("InferenceRequestSetDoubleParameter", request, _text(name), c_double(value))
            else:
                call("InferenceRequestSetStringParameter", request, _text(name), _text(value))
        try:
            for name, array in inputs.items():
                datatype = _DTYPES[array.dtype]
                packed = _packed(array)
                shape = (c_int64 * array.ndim)(*array.shape)
                kept += [packed, shape]
                call(
                    "InferenceRequestAddInput", request, _text(name), c_int(datatype), shape, c_uint64(array.ndim)
                )  # fmt: skip
                call(
                    "InferenceRequestAppendInputData", request, _text(name), c_char_p(packed), c_size_t(len(packed)),
                    c_int(0), c_int64(0),
                )  # fmt: skip

            @ALLOCATE
            def allocate(_, name, size, kind, number, userp, buffer, buffer_userp, actual, actual_number):
                memory = ctypes.create_string_buffer(size or 1)
                kept.append(memory)
                buffer[0] = ctypes.addressof(memory) if size else None
                actual[0] = actual_number[0] = 0

            @RELEASE_BUFFER
            def release_buffer(*_):
                return None

            @RESPOND
            def respond(response, flags, _):
                answers.put(InferenceResponse(response, bool(flags & 1)))

            @RELEASE_REQUEST
            def release_request(request, flags, _):
                call("InferenceRequestDelete", c_void_p(request))

            kept += [allocate, release_buffer, respond, release_request]
            call("ResponseAllocatorNew", byref(allocator), allocate, release_buffer, None)
            call("InferenceRequestSetReleaseCallback", request, release_request, None)
            call("InferenceRequestSetResponseCallback", request, allocator, None, respond, None)
            call("ServerInferAsync", self._server, request, None)
        except TritonError:
            call("InferenceRequestDelete", request)
            raise
        found = []
        while not found or not found[-1].final:
            found.append(answers.get(timeout=60))
            if raise_on_error and found[-1].error is not None:
                raise found[-1].error
        return found


class InferenceResponse:
    """As the API's; the outputs are numpy arrays in `Tensor`s."""

    def __init__(self, response, final):
        self.final, self.error, self.outputs, self.parameters, self.request_id = final, None, {}, {}, None
        if not response:
            return
        response = c_void_p(response)
        LIB.TRITONSERVER_InferenceResponseError.restype = c_void_p
        error = LIB.TRITONSERVER_InferenceResponseError(response)
        text = c_char_p()
        call("InferenceResponseId", response, byref(text))
        self.request_id = text.value.decode() or None
        if error:
            self.error = _BY_CODE[LIB.TRITONSERVER_ErrorCode(c_void_p(error))](
                LIB.TRITONSERVER_ErrorMessage(c_void_p(error)).decode()
            )
        else:
            count = c_uint32()
            call("InferenceResponseOutputCount", response, byref(count))
            for index in range(count.value):
                self._output(response, index)
        call("InferenceResponseDelete", response)

    def _output(self, response, index):
        name, datatype, shape, dims = c_char_p(), c_int(), POINTER(c_int64)(), c_uint64()
        base, size, kind, number, userp = c_void_p(), c_size_t(), c_int(), c_int64(), c_void_p()
        call(
            "InferenceResponseOutput", response, c_uint32(index), byref(name), byref(datatype), byref(shape),
            byref(dims), byref(base), byref(size), byref(kind), byref(number), byref(userp),
        )  # fmt: skip
        content = ctypes.string_at(base, size.value) if size.value else b""
        self.outputs[name.value.decode()] = Tensor(DataType(datatype.value), tuple(shape[: dims.value]), content)


class Tensor:
    """As the API's, of an output."""

    def __init__(self, data_type, shape, content):
        self.data_type, self.shape, self._content = data_type, shape, content
        self.size = len(content)

    def to_bytes_array(self):
        found, at = [], 0
        while at < len(self._content):
            length = int.from_bytes(self._content[at : at + 4], "little")
            found.append(self._content[at + 4 : at + 4 + length])
            at += 4 + length
        return np.array(found, np.object_).reshape(self.shape)

    def numpy(self):
        """What numpy.from_dlpack makes of the API's."""
        dtype = next(key for key, value in _DTYPES.items() if value is self.data_type)
        return np.frombuffer(self._content, dtype).reshape(self.shape)


def _packed(array):
    if array.dtype != np.object_:
        return array.tobytes()
    items = (one if isinstance(one, bytes) else one.encode() for one in array.ravel())
    return b"".join(len(one).to_bytes(4, "little") + one for one in items)


class MetricFamily:
    """As the API's."""

    def __init__(self, kind, name, description):
        self._family = c_void_p()
        call("MetricFamilyNew", byref(self._family), c_int(kind.value), _text(name), _text(description))

    def create_metric(self, labels=None):
        return Metric(self, labels)


class Metric:
    """As the API's."""

    def __init__(self, family, labels=None):
        made = [
            c_void_p(LIB.TRITONSERVER_ParameterNew(_text(k), c_int(0), _text(v))) for k, v in (labels or {}).items()
        ]
        self._metric = c_void_p()
        array = (c_void_p * len(made))(*made)
        call("MetricNew", byref(self._metric), family._family, array, c_uint64(len(made)))

    def increment(self, value):
        call("MetricIncrement", self._metric, c_double(value))

    def set_value(self, value):
        call("MetricSet", self._metric, c_double(value))

    @property
    def value(self):
        value = c_double()
        call("MetricValue", self._metric, byref(value))
        return value.value
