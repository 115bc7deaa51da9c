"""Inference requests decoded from memory: JSON that a client sends again and again, but for its id, is read once.

Reading a small request's JSON takes longer than everything else that HTTP does for it.
"""

import re

from atoll.protocol.http_codec import InferBody, OutputForm, decode_infer
from atoll.protocol.shared_memory import NO_REGIONS, REGION, Place, Placement, Regions
from atoll.request import Parameter
from atoll.tensor import DataType, Tensor

REMEMBERED = 512
LONGEST = 2048  # bytes of JSON: more is data, which does not repeat

_REGION = REGION.encode()
_ID = re.compile(rb'\{ ?"id" ?: ?"([A-Za-z0-9_.:-]*)" ?, ?')


class _Plan:
    """What the JSON of a request says, but for its id, where every tensor is binary or in shared memory.

    `places`: of the inputs in shared memory, None where none are; `targets` of the outputs.
    """

    __slots__ = ("form", "inputs", "output_names", "parameters", "places", "priority", "size", "targets", "timeout_us")

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
        self.places: dict[str, Place] | None = None if body.placement is None else body.placement.inputs
        self.targets: dict[str, Place] = {} if body.placement is None else body.placement.outputs


class InferDecoder:
    """`decode_infer` with a memory. Not thread-safe: one per event loop."""

    def __init__(self, regions: Regions = NO_REGIONS) -> None:
        self._regions = regions
        self._plans: dict[bytes, _Plan] = {}

    def decode(self, body: memoryview, json_length: int, model_name: str) -> InferBody:
        """As `decode_infer`, with the same results and errors. The form may be shared: do not change it."""
        if json_length > LONGEST:
            return decode_infer(body, json_length, model_name, self._regions)
        text = bytes(body[:json_length])
        if json_length == len(body) and _REGION not in text:
            return decode_infer(body, json_length, model_name, self._regions)
        found = _ID.match(text)
        key = text if found is None else text[found.end() :]
        plan = self._plans.get(key)
        if plan is None or plan.size != len(body) - json_length:
            result = decode_infer(body, json_length, model_name, self._regions)
            self._remember(key, result, found, len(body) - json_length)
            return result
        result = InferBody(plan.form)
        if found is not None:
            result.id = found[1].decode()
        if plan.places is None:
            position = json_length
            inputs = result.inputs
            for name, datatype, shape, size in plan.inputs:
                inputs[name] = Tensor(name, datatype, shape, buffer=body[position : position + size])
                position += size
        else:
            self._place(plan, plan.places, result, body[json_length:])
        result.output_names = plan.output_names
        result.parameters = None if plan.parameters is None else dict(plan.parameters)
        result.priority = plan.priority
        result.timeout_us = plan.timeout_us
        return result

    def _place(self, plan: _Plan, places: dict[str, Place], result: InferBody, data: memoryview) -> None:
        """The tensors of a request some of which are in shared memory. The regions may be others now, or gone."""
        placement = result.placement = Placement(self._regions)
        inputs = result.inputs
        position = 0
        for name, datatype, shape, size in plan.inputs:
            place = places.get(name)
            if place is not None:
                inputs[name] = Tensor(name, datatype, shape, buffer=placement.input(name, place, datatype))
            else:
                inputs[name] = Tensor(name, datatype, shape, buffer=data[position : position + size])
                position += size
        for name, place in plan.targets.items():
            placement.output(name, place)

    def _remember(self, key: bytes, body: InferBody, found: re.Match[bytes] | None, size: int) -> None:
        if b'"id"' in key or b"\\u" in key or any(tensor.buffer is None for tensor in body.inputs.values()):
            return  # the id is elsewhere too, could be hidden in an escape, or there is data in the JSON
        plan = _Plan(body, size)
        if sum(one[3] for one in plan.inputs if one[0] not in (plan.places or ())) != size:
            return  # texts that were in the JSON are packed already
        if found is None and body.id:
            return
        if len(self._plans) >= REMEMBERED:
            del self._plans[next(iter(self._plans))]
        self._plans[key] = plan
