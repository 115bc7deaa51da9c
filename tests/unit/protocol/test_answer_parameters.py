"""The parameters of answers, whose encoded form is remembered: each comes out as it went in."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.protocol.grpc_codec import InferCodec
from atoll.protocol.http_answer import ResponseEncoder
from atoll.protocol.http_codec import OutputForm
from atoll.protocol.schema import message_class
from atoll.request import InferenceResponse, Parameter
from atoll.tensor import DataType, Tensor

PARAMETERS = st.dictionaries(
    st.sampled_from("ab"),
    st.one_of(
        st.booleans(), st.integers(-1, 1), st.sampled_from([0.0, -0.0, 1.0]), st.sampled_from(["", "1", "x" * 400])
    ),
    min_size=1,
)
_Response = message_class("inference.ModelInferResponse")


def response(parameters: dict[str, Parameter]) -> InferenceResponse:
    array = np.zeros((1,), np.float32)
    return InferenceResponse("m", "1", "", [Tensor("Y", DataType.FP32, (1,), array=array)], parameters)


def over_http(encoder: ResponseEncoder = ResponseEncoder()) -> Callable[[dict[str, Parameter]], dict[str, Parameter]]:  # noqa: B008
    def ask(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        parts, _ = encoder.encode(response(parameters), OutputForm())
        found: dict[str, Parameter] = json.loads(b"".join(parts))["parameters"]
        return found

    return ask


def over_grpc(codec: InferCodec = InferCodec()) -> Callable[[dict[str, Parameter]], dict[str, Parameter]]:  # noqa: B008
    def ask(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        encoded = codec.encode(response(parameters))
        message = _Response.FromString(encoded if isinstance(encoded, bytes) else b"".join(encoded))
        return {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in message.parameters.items()}

    return ask


@pytest.mark.parametrize("ask", [over_http(), over_grpc()], ids=["http", "grpc"])
def test_they_come_out_as_they_went_in(ask: Callable[[dict[str, Parameter]], dict[str, Parameter]]) -> None:
    @given(st.lists(PARAMETERS, min_size=1, max_size=6))
    def check(many: list[dict[str, Parameter]]) -> None:
        for parameters in many:
            assert sorted(map(repr, ask(parameters).items())) == sorted(map(repr, parameters.items()))

    check()
