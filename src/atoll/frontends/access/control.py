"""What the options say about access, put together: one gate for HTTP, one for gRPC, and the keys that both ask."""

from collections.abc import Mapping
from typing import Any, Self

from atoll.errors import InvalidArgumentError
from atoll.frontends.access.cors import Cors, cors_from_values
from atoll.frontends.access.grpc_gate import GrpcGate
from atoll.frontends.access.http_gate import HttpGate
from atoll.frontends.access.keyring import KeyRing
from atoll.frontends.access.restrictions import Restrictions, grpc_restrictions, http_restrictions
from atoll.frontends.apis import Api


class AccessControl:
    """`http` and `grpc` are None where nothing is asked of requests; `hosted` is for HTTP endpoints that are not the
    v2 protocol's, which restricted APIs do not concern. Thread-safe.
    """

    def __init__(
        self,
        http: Restrictions,
        grpc: Restrictions,
        keys: KeyRing | None = None,
        exempt: frozenset[Api] = frozenset(),
        cors: Cors | None = None,
    ):
        self._keys = keys
        self._exempt = exempt
        asked = keys is not None or cors is not None
        self.http = HttpGate(http, keys, exempt, cors) if http or asked else None
        self.hosted = HttpGate({}, keys, exempt, cors, hosted=True) if asked else None
        self.grpc = GrpcGate(grpc, keys, exempt) if grpc or keys is not None else None

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self | None:
        """From the server's options, by field name; None where all of it is off. Raises InvalidArgumentError.

        `watch` is to be called next.
        """
        http = http_restrictions(values.get("http_restricted_api", ()))
        grpc = grpc_restrictions(values.get("grpc_restricted_protocol", ()))
        exempt = _exempt(values.get("api_key_exempt", "health,documentation"))
        cors = cors_from_values(values, sorted({one.name for one in http.values()}))
        file = values.get("api_key_file")
        keys = KeyRing(file) if file else None
        if not (http or grpc or keys or cors):
            return None
        return cls(http, grpc, keys, exempt, cors)

    def watch(self) -> None:
        """Look after the file of keys from now on; again in a process that was forked since."""
        if self._keys is not None:
            self._keys.watch()

    def asks_for_key(self, api: Api) -> bool:
        """Whether this API is answered only to who has an API key."""
        return self._keys is not None and api not in self._exempt

    def close(self) -> None:
        """The server has ended."""
        if self._keys is not None:
            self._keys.close()


def _exempt(text: str) -> frozenset[Api]:
    names = [one.strip() for one in text.split(",") if one.strip()]
    known = {one.value: one for one in Api}
    for name in names:
        if name not in known:
            raise InvalidArgumentError(f"--api-key-exempt: there is no API '{name}'; expected {', '.join(known)}")
    return frozenset(known[name] for name in names)
