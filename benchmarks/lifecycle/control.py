"""Loads and unloads models of a running server, as a client does: over HTTP."""

import http.client
import json
import time
from typing import Any

# A load of the largest model here takes a second or two, on a busy machine several times that.
CALL_SECONDS = 300.0
UNLOAD_SECONDS = 30.0
LOOK_SECONDS = 0.01


class ControlError(RuntimeError):
    """The server refused to load, unload or answer; the message has its words."""


class Control:
    """One server on this machine, started with --model-control-mode=explicit."""

    def __init__(self, http_port: int) -> None:
        self._port = http_port

    def load(self, model: str) -> float:
        """Returns after how many seconds the server said that it is loaded."""
        began = time.monotonic()
        self.post(f"/v2/repository/models/{model}/load")
        return time.monotonic() - began

    def unload(self, model: str) -> float:
        """Returns after how many seconds the model was gone: the server answers before that."""
        began = time.monotonic()
        self.post(f"/v2/repository/models/{model}/unload")
        while self.states(model) - {"UNAVAILABLE"}:
            if time.monotonic() > began + UNLOAD_SECONDS:
                raise ControlError(f"'{model}' was not gone {UNLOAD_SECONDS:g} s after it was unloaded")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - began

    def states(self, model: str) -> set[str]:
        """What the repository index says of the model's versions; empty where it was never loaded."""
        entries = json.loads(self.post("/v2/repository/index"))
        return {entry["state"] for entry in entries if entry["name"] == model and entry.get("state")}

    def post(self, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
        """Raises ControlError for any answer but 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=CALL_SECONDS)
        try:
            connection.request("POST", path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ControlError(f"POST {path} was not answered: {error!r}") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise ControlError(f"POST {path} was answered with {answer.status}: {_reason(content)}")
        return content


def _reason(content: bytes) -> str:
    try:
        document: Any = json.loads(content)
        return str(document["error"])
    except (ValueError, KeyError, TypeError):
        return content[:500].decode(errors="replace")
