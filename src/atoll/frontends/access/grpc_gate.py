"""Who may make a gRPC call: the tables of procedures with what has to be asked put in front of each.

Procedures that nothing is asked for stay as they are.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from atoll.errors import AtollError
from atoll.frontends.access.credentials import token_of
from atoll.frontends.access.key_form import digest_of
from atoll.frontends.access.keyring import KeyRing
from atoll.frontends.access.keys import NO_DEPENDENTS, NO_OVERRIDE, ApiKey, open_to_all
from atoll.frontends.access.restrictions import Restriction, Restrictions
from atoll.frontends.apis import Api
from atoll.frontends.grpc.apis import API_OF, model_fields
from atoll.frontends.grpc.forwarding_call import ForwardingCall
from atoll.frontends.grpc.logged import LoggedCall
from atoll.frontends.grpc.procedures.procedure import SERVICE
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import (
    Call,
    GrpcError,
    GrpcStatus,
    Message,
    Metadata,
    Pending,
    StreamCall,
    StreamHandler,
    UnaryHandler,
)
from atoll.protocol.repository import UNLOAD_DEPENDENTS
from atoll.protocol.schema import message_class

INFER = SERVICE + "ModelInfer"
STREAM = SERVICE + "ModelStreamInfer"
READY = SERVICE + "ModelReady"

Permit = Callable[[str], bool]
"""Called with a message's model. Raises AtollError where it may not be used, or not now. Returns whether the message's
tensors may be in shared memory.
"""


class InferHandler(Protocol):
    """ModelInfer, which is told who asks: it reads the message, and so knows the model."""

    def __call__(self, call: Call, message: bytes, *, permit: Permit) -> Message | Pending: ...


class StreamInferHandler(Protocol):
    """ModelStreamInfer: each message may be for another model."""

    def __call__(self, call: StreamCall, *, permit: Permit) -> Awaitable[None]: ...


class GrpcGate:
    """For all event loops of a server."""

    def __init__(self, restrictions: Restrictions, keys: KeyRing | None = None, exempt: frozenset[Api] = frozenset()):
        self._restrictions = restrictions
        self._keys = keys
        self._exempt = exempt

    def unary(self, handlers: Mapping[str, UnaryHandler], infer: InferHandler) -> dict[str, UnaryHandler]:
        """The table with the gate in front."""
        guarded = {}
        for path, handler in handlers.items():
            api = API_OF[path]
            keys = self._keys_for(api, path == READY)
            if keys is not None:
                handler = self._keyed_infer(keys, infer) if path == INFER else _keyed(keys, api, path, handler)
            guarded[path] = _restricted(self._restrictions.get(api), handler)
        return guarded

    def stream(self, handlers: Mapping[str, StreamHandler], infer: StreamInferHandler) -> dict[str, StreamHandler]:
        """The same for calls with streams."""
        guarded: dict[str, StreamHandler] = {}
        for path, handler in handlers.items():
            api = API_OF[path]
            keys = self._keys_for(api, False)
            if keys is not None:
                assert path == STREAM, f"nobody knows which models {path} is about. This is a bug"
                handler = self._keyed_stream(keys, infer)
            guarded[path] = _restricted_stream(self._restrictions.get(api), handler)
        return guarded

    def _keyed_infer(self, keys: KeyRing, infer: InferHandler) -> UnaryHandler:
        regions_open = Api.SHARED_MEMORY in self._exempt

        def procedure(call: Call, message: bytes) -> Message | Pending:
            return infer(call, message, permit=partial(_holder(keys, Api.INFERENCE, call).permit, regions_open))

        return procedure

    def _keyed_stream(self, keys: KeyRing, infer: StreamInferHandler) -> StreamHandler:
        regions_open = Api.SHARED_MEMORY in self._exempt

        def procedure(call: StreamCall) -> Awaitable[None]:
            return infer(call, permit=partial(_holder(keys, Api.INFERENCE, call).permit, regions_open))

        return procedure

    def _keys_for(self, api: Api, names_model: bool) -> KeyRing | None:
        return None if api in self._exempt and open_to_all(api, names_model) else self._keys


# ---- restricted protocols


def _restricted(restriction: Restriction | None, handler: UnaryHandler) -> UnaryHandler:
    if restriction is None:
        return handler

    def procedure(call: Call, message: bytes) -> Message | Awaitable[Message] | Pending:
        _demand(restriction, call)
        return handler(call, message)

    return procedure


def _restricted_stream(restriction: Restriction | None, handler: StreamHandler) -> StreamHandler:
    if restriction is None:
        return handler

    def procedure(call: StreamCall) -> Awaitable[None]:
        _demand(restriction, call)
        return handler(call)

    return procedure


def _demand(restriction: Restriction, call: Call) -> None:
    if not restriction.admits(_first(call.metadata, restriction.name)):
        text = f"This protocol is restricted, expecting header '{restriction.header}'"
        raise GrpcError(GrpcStatus.UNAVAILABLE, text)


def _first(metadata: Metadata, name: str) -> bytes | None:
    for one, value in metadata:
        if one == name:
            return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
    return None


# ---- API keys


class _Holder:
    """Who makes a call, asked anew for each message: the key may have gone meanwhile."""

    __slots__ = ("_api", "_digest", "_keys", "name")

    def __init__(self, keys: KeyRing, api: Api, metadata: Metadata):
        self._keys = keys
        self._api = api
        self._digest = digest_of(token_of(metadata))
        self.name = keys.by_digest(self._digest).name

    def key(self, model: str) -> ApiKey:
        """The key, one request counted. Raises AtollError where it may not be used for this."""
        key = self._keys.by_digest(self._digest)
        key.check(self._api, model)
        key.admit()
        return key

    def permit(self, regions_open: bool, model: str) -> bool:
        """See `Permit`. A message that names no model is for none that the key might be for."""
        return self.key(model).opens(Api.SHARED_MEMORY) or regions_open


def _holder(keys: KeyRing, api: Api, call: Call) -> _Holder:
    try:
        holder = _Holder(keys, api, call.metadata)
    except AtollError as error:
        raise grpc_error(error) from None
    if isinstance(call, LoggedCall):
        call.key = holder.name
    return holder


def _keyed(keys: KeyRing, api: Api, path: str, handler: UnaryHandler) -> UnaryHandler:
    model_of = _model_reader(path)
    keep = _filter(path)
    change = path if path in _CHANGES else ""

    def procedure(call: Call, message: bytes) -> Message | Awaitable[Message] | Pending:
        holder = _holder(keys, api, call)
        try:
            model, request = model_of(message)
            key = holder.key(model)
            if key.limited_to_models and change:
                _CHANGES[change](key, request)
        except AtollError as error:
            failure = grpc_error(error)
            if failure.trailing:
                call.set_trailing_metadata(failure.trailing)
            raise failure from None
        if keep is None or model or not key.limited_to_models:
            return handler(call, message)
        only = partial(keep, key)
        answer = handler(_Filtered(call, only), message)
        return only(answer) if isinstance(answer, bytes) else answer

    return procedure


def _model_reader(path: str) -> Callable[[bytes], tuple[str, Any]]:
    """What finds the model that a message names, "" for none, with the message."""
    fields = model_fields(path)
    if fields is None:
        return lambda _: ("", None)

    def read(message: bytes) -> tuple[str, Any]:
        try:
            request = fields.message.FromString(message)
        except DecodeError:
            return "", None  # the procedure will say so
        return getattr(request, fields.name), request

    return read


class _Filtered(ForwardingCall):
    """A call whose answer is looked through before it goes."""

    def __init__(self, call: Call, keep: Callable[[Any], bytes]):
        super().__init__(call)
        self._keep = keep

    def reply(self, message: Message) -> None:
        super().reply(self._keep(message))


def _filter(path: str) -> Callable[[ApiKey, bytes], bytes] | None:
    """What leaves only a key's own models in an answer about all of them."""
    name, models = _LISTS.get(path, ("", ""))
    if not name:
        return None
    kind = message_class(f"inference.{name}Response")

    def keep(key: ApiKey, answer: bytes) -> bytes:
        message = kind.FromString(answer)
        entries = getattr(message, models)
        kept = [one for one in entries if key.may_use(one.name)]
        message.ClearField(models)
        getattr(message, models).extend(kept)
        encoded: bytes = message.SerializeToString()
        return encoded

    return keep


_LISTS = {
    SERVICE + "RepositoryIndex": ("RepositoryIndex", "models"),
    SERVICE + "ModelStatistics": ("ModelStatistics", "model_stats"),
}


def _check_load(key: ApiKey, request: Any) -> None:
    if request is not None and request.parameters:
        key.demand_all_models(NO_OVERRIDE)


def _check_unload(key: ApiKey, request: Any) -> None:
    if request is not None and UNLOAD_DEPENDENTS in request.parameters:
        key.demand_all_models(NO_DEPENDENTS)


_CHANGES: Mapping[str, Callable[[ApiKey, Any], None]] = {
    SERVICE + "RepositoryModelLoad": _check_load,
    SERVICE + "RepositoryModelUnload": _check_unload,
}
