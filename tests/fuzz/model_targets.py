"""What requests to load and unload models bring."""

from collections.abc import Mapping

from tests.fuzz.target import Target, outcome

from atoll.config.json_form import from_json
from atoll.config.model_config import ModelConfig
from atoll.config.textproto import read_config_text
from atoll.protocol import json_text
from atoll.protocol.repository import load_from_json, only_ready, unload_from_json


def repository_request(data: bytes) -> None:
    """Bodies of load, unload and index."""
    outcome(lambda: load_from_json(data, "m"))
    dependents, problem = unload_from_json(data)
    assert not (dependents and problem)
    outcome(lambda: only_ready(data))


_REPOSITORY = (
    b'{"parameters":{"config":"{\\"max_batch_size\\":1}","file:1/model.onnx":"AAAA"}}',
    b'{"parameters":{"unload_dependents":true}}',
    b'{"ready":true}',
)


def model_config(data: bytes) -> None:
    """A configuration in JSON, as load requests bring it, and as text."""
    text = data.decode("utf-8", "replace")

    def read_json() -> ModelConfig:
        return from_json(json_text.parse(data))

    outcome(read_json)
    outcome(lambda: read_config_text(text, "config.pbtxt"))


_CONFIGS = (
    b'{"name":"m","max_batch_size":8,"input":[{"name":"X","data_type":"TYPE_FP32","dims":[-1]}],'
    b'"dynamic_batching":{"preferred_batch_size":[4]},"parameters":{"k":{"string_value":"v"}}}',
    b'name: "m"\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ 4, -1 ] } ]\ninstance_group [{ count: 2 }]\n',
)


TARGETS: Mapping[str, Target] = {
    "repository_request": Target(repository_request, _REPOSITORY),
    "model_config": Target(model_config, _CONFIGS),
}
