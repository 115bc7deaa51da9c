"""What a process says of a model's files comes over whole."""

import json

import pytest

from atoll.config.signature import ModelSignature, TensorSignature
from atoll.isolation.hosted_signature import HostedSignature, told
from atoll.tensor import DataType

WHOLE = ModelSignature(
    inputs=(
        TensorSignature(name="A", data_type=DataType.BF16, shape=(-1, 3)),
        TensorSignature(name="B", data_type=DataType.INVALID, shape=None, optional=True),
    ),
    outputs=(TensorSignature(name="C", data_type=DataType.BYTES, shape=()),),
    batching=True,
    max_batch_size=32,
)
NONE_KNOWN = ModelSignature(inputs=(), outputs=())


@pytest.mark.parametrize("signature", [WHOLE, NONE_KNOWN, None])
def test_a_signature_comes_over_whole(signature: ModelSignature | None) -> None:
    hosted = object.__new__(HostedSignature)
    hosted._signature = signature
    assert told(json.loads(json.dumps(hosted.facts()))) == signature
