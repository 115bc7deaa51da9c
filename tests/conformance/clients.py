"""The four official clients behind one face, so that a test is written once and asks through each of them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tests.conformance.process import ServerProcess

KINDS = ("http", "http.aio", "grpc", "grpc.aio")


class AnyClient:
    """One of the clients. The asynchronous ones run on an event loop of their own, a call at a time."""

    def __init__(self, kind: str, server: ServerProcess, loop: asyncio.AbstractEventLoop) -> None:
        self.protocol = kind.partition(".")[0]
        self.module: ModuleType = tritonclient.http if self.protocol == "http" else tritonclient.grpc
        self._loop = loop if kind.endswith(".aio") else None
        self._client = self._made(kind, server)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """A method of the client, with the documents of either protocol as dictionaries."""
        if self.protocol == "grpc" and method.startswith("get_"):
            options["as_json"] = True
        return self._run(lambda: getattr(self._client, method)(*arguments, **options))

    def infer(self, model: str, arrays: dict[str, Any], binary: bool = True, **options: Any) -> Any:
        """`arrays`: numpy arrays, or pairs of one and the data type to send it as. `binary` over HTTP, else JSON."""
        return self.call("infer", model, self.inputs(arrays, binary), **options)

    def inputs(self, arrays: dict[str, Any], binary: bool = True) -> list[Any]:
        return [self._input(name, value, binary) for name, value in arrays.items()]

    def outputs(self, *names: str, binary: bool = True) -> list[Any]:
        form = {"binary_data": binary} if self.protocol == "http" else {}
        return [self.module.InferRequestedOutput(name, **form) for name in names]

    def config(self, model: str) -> dict[str, Any]:
        """A model's configuration; the gRPC document wraps it."""
        document = self.call("get_model_config", model)
        result: dict[str, Any] = document["config"] if self.protocol == "grpc" else document
        return result

    def close(self) -> None:
        self._run(self._client.close)

    def _input(self, name: str, value: Any, binary: bool) -> Any:
        array, data_type = value if isinstance(value, tuple) else (value, triton_type(value))
        tensor = self.module.InferInput(name, list(array.shape), data_type)
        tensor.set_data_from_numpy(array, **({"binary_data": binary} if self.protocol == "http" else {}))
        return tensor

    def _run(self, action: Any) -> Any:
        if self._loop is None:
            return action()

        async def awaited() -> Any:
            return await action()

        return self._loop.run_until_complete(awaited())

    def _made(self, kind: str, server: ServerProcess) -> Any:
        address = server.http if self.protocol == "http" else server.grpc
        package = {
            "http": tritonclient.http,
            "http.aio": tritonclient.http.aio,
            "grpc": tritonclient.grpc,
            "grpc.aio": tritonclient.grpc.aio,
        }[kind]
        if self._loop is None:
            return package.InferenceServerClient(address)

        async def made() -> Any:
            return package.InferenceServerClient(address)

        return self._loop.run_until_complete(made())


@contextmanager
def any_client(kind: str, server: ServerProcess) -> Iterator[AnyClient]:
    with asyncio.Runner() as runner:
        client = AnyClient(kind, server, runner.get_loop())
        try:
            yield client
        finally:
            client.close()


def triton_type(array: Any) -> str:
    name: str = tritonclient.utils.np_to_triton_dtype(array.dtype)
    return name


def pair(rows: int = 1, start: int = 0) -> dict[str, Any]:
    """Inputs for `simple`: `rows` rows that count up from `start`, and ones."""
    first = np.arange(start, start + rows * 16, dtype=np.int32).reshape(rows, 16)
    return {"INPUT0": first, "INPUT1": np.ones_like(first)}
