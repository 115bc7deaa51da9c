"""Documents that register memory of clients, and what requests say of it."""

import base64
import json
from collections.abc import Mapping

from tests.fuzz.target import Target, outcome

from atoll.frontends.shared_memory.system import open_region
from atoll.protocol import json_text
from atoll.protocol.region_requests import (
    HANDLE_BYTES,
    CudaRegion,
    SystemRegion,
    cuda_from_json,
    system_document,
    system_from_json,
)
from atoll.protocol.shared_memory import Place, output_place_from_json, place_from_json

_NOWHERE = "/nonexistent_folder_of_atoll"  # where no key leads anywhere


def region_document(data: bytes) -> None:
    """A region that is read has the types and ranges that the rest relies on, and no key leads out of the folder."""
    system = outcome(lambda: system_from_json("r", data))
    if isinstance(system, SystemRegion):
        assert type(system.key) is str
        assert 0 <= system.offset < 2**64
        assert 0 <= system.byte_size < 2**64
        assert json_text.parse(json_text.dump(system_document(system))) == system_document(system)
        assert isinstance(outcome(lambda: open_region(system, directory=_NOWHERE)), tuple)
    cuda = outcome(lambda: cuda_from_json("r", data))
    if isinstance(cuda, CudaRegion):
        assert len(cuda.raw_handle) == HANDLE_BYTES
        assert 0 <= cuda.device_id < 2**64
        assert 0 <= cuda.byte_size < 2**64


_REGIONS = (
    b'{"key":"/k","offset":0,"byte_size":18446744073709551615}',
    b'{"key":"/../etc/passwd","byte_size":1}',
    json.dumps(
        {"raw_handle": {"b64": base64.b64encode(bytes(HANDLE_BYTES)).decode()}, "device_id": 0, "byte_size": 8}
    ).encode(),
)


def tensor_place(data: bytes) -> None:
    """What the parameters of a tensor say of a region, be it an input or an output."""
    parameters = outcome(lambda: json_text.parse(data))
    if type(parameters) is not dict or "shared_memory_region" not in parameters:
        return
    place = outcome(lambda: place_from_json(parameters))
    if isinstance(place, Place):
        assert type(place.region) is str
        assert 0 <= place.offset < 2**64
        assert 0 <= place.byte_size < 2**64
    written = outcome(lambda: output_place_from_json(parameters))
    assert written == place or not isinstance(written, Place)


_PLACES = (
    b'{"shared_memory_region":"r","shared_memory_offset":4,"shared_memory_byte_size":8}',
    b'{"shared_memory_region":"r","binary_data":true,"classification":3}',
)


TARGETS: Mapping[str, Target] = {
    "region_document": Target(region_document, _REGIONS),
    "tensor_place": Target(tensor_place, _PLACES),
}
