"""Inference requests decoded from memory: JSON that a client sends again and again, but for its id, is read once.

Reading a small request's JSON takes longer than everything else that HTTP does for it.
"""

import re

from atoll.protocol.http_codec import InferBody, OutputForm, decode_infer
from atoll.request import Parameter
from atoll.tensor import DataType, Tensor

REMEMBERED = 512
LONGEST = 2048  # bytes of JSON: more is data, which does not repeat

_ID = re.compile(rb'\{ ?"id" ?: ?"([A-Za-z0-9_.:-]*)" ?, ?')


class _Plan:
    """What the JSON of a request says, but for its id, where every tensor is binary."""

    __slots__ = ("form", "inputs", "output_names", "parameters", "priority", "size", "timeout_us")

    def __init__(self, body: InferBody, size: int):
        self.inputs: list[tuple[str, DataType, tuple[int, ...], int]] = []
        for tensor in body.inputs.values():
            assert tensor.buffer is not None, "only binary requests are remembered. This is a bug"
            self.inputs.append((tensor.name, tensor.datatype, tensor.shape, len(tensor.buffer)))
        self.output_names = body.output_names
        self.parameters: dict[str, Parameter] | None = None if body.parameters is None else dict(body.parameters)
        self.priority = body.priority
        self.timeout_us = body.timeout_us
        self.form: OutputForm = body.form
        self.size = size


class InferDecoder:
    """`decode_infer` with a memory. Not thread-safe: one per event loop."""

    def __init__(self) -> None:
        self._plans: dict[bytes, _Plan] = {}

    def decode(self, body: memoryview, json_length: int, model_name: str) -> InferBody:
        """As `decode_infer`, with the same results and errors. The form may be shared: do not change it."""
        if json_length > LONGEST or json_length == len(body):
            return decode_infer(body, json_length, model_name)
        text = bytes(body[:json_length])
        found = _ID.match(text)
        key = text if found is None else text[found.end() :]
        plan = self._plans.get(key)
        if plan is None or plan.size != len(body) - json_length:
            result = decode_infer(body, json_length, model_name)
            self._remember(key, result, found, len(body) - json_length)
            return result
        result = InferBody(plan.form)
        if found is not None:
            result.id = found[1].decode()
        position = json_length
        inputs = result.inputs
        for name, datatype, shape, size in plan.inputs:
            inputs[name] = Tensor(name, datatype, shape, buffer=body[position : position + size])
            position += size
        result.output_names = plan.output_names
        result.parameters = None if plan.parameters is None else dict(plan.parameters)
        result.priority = plan.priority
        result.timeout_us = plan.timeout_us
        return result

    def _remember(self, key: bytes, body: InferBody, found: re.Match[bytes] | None, size: int) -> None:
        if b'"id"' in key or b"\\u" in key or any(tensor.buffer is None for tensor in body.inputs.values()):
            return  # the id is elsewhere too, could be hidden in an escape, or there is data in the JSON
        if found is None and body.id:
            return
        if len(self._plans) >= REMEMBERED:
            del self._plans[next(iter(self._plans))]
        self._plans[key] = _Plan(body, size)
