"""Outputs on their way to regions, and what becomes of a request whose regions were cut short."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.frontends.shared_memory.objects import shared_object

from atoll.config.model_config import ModelConfig, ModelEnsembling, ModelResponseCache
from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.frontends.shared_memory.placing import send_by_region
from atoll.frontends.shared_memory.regions import RegionTable
from atoll.frontends.shared_memory.system import MAPPED
from atoll.protocol.shared_memory import Place, PlacedResponse, Placement
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor


class Sent:
    """A sender that keeps what it is sent."""

    def __init__(self) -> None:
        self.responses: list[tuple[InferenceResponse | None, bool]] = []

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.responses.append((response, final))

    def only(self) -> InferenceResponse:
        ((response, final),) = self.responses
        assert response is not None
        assert final
        return response


@pytest.fixture
def one():
    with shared_object() as made:
        yield made


@pytest.fixture
def placement(one) -> Placement:
    table = RegionTable()
    table.register_system(one.region())
    return Placement(table)


def model(**config: object) -> Any:
    """As much of a model as is looked at."""
    return SimpleNamespace(config=ModelConfig(name="m", **config))  # type: ignore[arg-type]


def request(placement: Placement) -> tuple[InferenceRequest, Sent]:
    sent = Sent()
    made = InferenceRequest("m", {}, sent)
    send_by_region(made, placement, model())
    return made, sent


CACHED = {"response_cache": ModelResponseCache(enable=True)}
ENSEMBLE = {"ensemble_scheduling": ModelEnsembling()}


@pytest.mark.parametrize(
    ("caching", "config", "copied"),
    [(True, CACHED, True), (True, ENSEMBLE, True), (True, {}, False), (False, ENSEMBLE, False), (False, {}, False)],
)
def test_what_an_answer_is_kept_under_does_not_change(one, caching, config, copied):
    table = RegionTable(caching=caching)
    table.register_system(one.region())
    placement = Placement(table)
    tensor = Tensor("IN", DataType.UINT8, (4,), buffer=placement.input("IN", Place("r", 0, 4), DataType.UINT8))
    plain = Tensor("OTHER", DataType.UINT8, (4,), buffer=b"1234")
    send_by_region(InferenceRequest("m", {"IN": tensor, "OTHER": plain}, Sent()), placement, model(**config))
    one.fill(b"\1\1\1\1")
    assert tensor.array().tolist() == ([0] * 4 if copied else [1 if MAPPED else 0] * 4)


def response(**arrays: list[int]) -> InferenceResponse:
    outputs = [Tensor(name, DataType.INT32, (len(one),), array=np.array(one, np.int32)) for name, one in arrays.items()]
    return InferenceResponse("m", "1", "id", outputs, {"k": "v"})


def test_a_placed_output_is_in_its_region_and_not_in_the_response(one, placement):
    placement.output("A", Place("r", 8, 100))
    made, sent = request(placement)
    original = response(A=[1, 2, 3], B=[4])
    made.sender.send(original, True)
    got = sent.only()
    assert isinstance(got, PlacedResponse)
    assert list(got.placed) == ["A"]
    assert (got.model_name, got.model_version, got.id, got.parameters) == ("m", "1", "id", {"k": "v"})
    assert [(one.name, one.shape, bytes(one.packed())) for one in got.outputs] == [
        ("A", (3,), b""),
        ("B", (1,), b"\4\0\0\0"),
    ]
    assert one.bytes()[:24] == bytes(8) + np.array([1, 2, 3, 0], np.int32).tobytes()
    assert original.outputs[0].array().tolist() == [1, 2, 3], "it may go to others too"


def test_texts_do_not_change_after_they_were_checked(one, placement):
    one.fill(b"\1\0\0\0a")
    texts = placement.input("IN", Place("r", 0, 5), DataType.BYTES)
    one.fill(b"\xff\xff\xff\xff")
    assert Tensor("IN", DataType.BYTES, (1,), buffer=texts).array().tolist() == [b"a"]


def test_each_response_of_several_is_written(one, placement):
    placement.output("A", Place("r", 0, 8))
    made, sent = request(placement)
    for number in (1, 2):
        made.sender.send(response(A=[number]), False)
        assert one.bytes()[0] == number
    made.sender.send(None, True)
    assert [final for _, final in sent.responses] == [False, False, True]
    assert sent.responses[-1][0] is None


def test_too_small_a_place_is_an_error_and_the_next_response_may_fit(one, placement):
    placement.output("A", Place("r", 0, 4))
    made, sent = request(placement)
    made.sender.send(response(A=[1, 2]), False)
    made.sender.send(response(A=[3]), True)
    failed, good = (one for one, _ in sent.responses)
    assert isinstance(failed.error, InternalError)
    assert str(failed.error) == (
        "shared memory size specified with the request for output 'A' (4 bytes) should be at least 8 bytes to hold the "
        "results"
    )
    assert (failed.model_name, failed.id, failed.outputs) == ("m", "id", [])
    assert good.error is None
    assert one.bytes()[:8] == b"\3\0\0\0" + bytes(4)


def test_an_output_that_the_model_does_not_send_is_nobodys_trouble(placement):
    placement.output("OTHER", Place("r", 0, 4))
    made, sent = request(placement)
    made.sender.send(response(A=[1]), True)
    assert sent.only()["A"].tolist() == [1]


def test_errors_of_the_model_pass(placement):
    placement.output("A", Place("r", 0, 4))
    made, sent = request(placement)
    made.sender.send(InferenceResponse("m", "1", error=InternalError("mine")), True)
    assert str(sent.only().error) == "mine"


@pytest.mark.skipif(not MAPPED, reason="the guard is not built, and so the input was copied before")
def test_an_answer_made_of_what_was_lost_is_withheld(one, placement):
    tensor = Tensor("IN", DataType.UINT8, (8192,), buffer=placement.input("IN", Place("r", 0, 8192), DataType.UINT8))
    made, sent = request(placement)
    one.truncate(0)
    assert not tensor.array().any()
    made.sender.send(response(A=[1]), True)
    assert isinstance(sent.only().error, InvalidArgumentError)
    assert "is not whole any more" in str(sent.only().error)


def test_a_region_that_is_cut_short_before_the_answer(one, placement):
    placement.output("A", Place("r", 0, 8))
    made, sent = request(placement)
    one.truncate(0)
    made.sender.send(response(A=[1]), True)
    assert "is not whole any more" in str(sent.only().error)
    assert one.bytes() == b""


def test_what_goes_wrong_in_writing_is_the_requests_error(placement):
    placement.output("A", Place("r", 0, 8))
    made, sent = request(placement)
    broken = InferenceResponse("m", "1", outputs=[Tensor("A", DataType.INT32, (2,), buffer="no buffer")])  # type: ignore[arg-type]
    made.sender.send(broken, True)
    assert isinstance(sent.only().error, InternalError)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place("r", 8192, 1), "Invalid offset for shared memory region: 'r'"),
        (Place("r", 2**64 - 1, 2**64 - 1), "Invalid offset for shared memory region: 'r'"),
        (Place("r", 8191, 2), "Invalid offset . byte size for shared memory region: 'r'"),
        (Place("r", 0, 0), "Invalid offset . byte size for shared memory region: 'r'"),
        (Place("nope", 0, 1), "Unable to find shared memory region: 'nope'"),
    ],
)
def test_places_outside_a_region(placement, place, text):
    with pytest.raises(AtollError, match=text):
        placement.input("A", place, DataType.UINT8)
    with pytest.raises(AtollError, match=text):
        placement.output("A", place)
    assert not placement.inputs
    assert not placement.targets


@pytest.mark.parametrize("packed", [False, True])
def test_a_model_that_answers_with_its_input_keeps_no_answer_in_the_region(one, placement, packed):
    """The client may change it, or take it away, while it is sent; and so it may be slow to read."""
    lent = placement.input("IN", Place("r", 0, 4096), DataType.FP32)
    kept = np.zeros(4, np.float32)
    made, sent = request(placement)
    view = np.frombuffer(lent, np.float32)[4:8]
    output = {"buffer": memoryview(view)} if packed else {"array": view}
    outputs = [Tensor("OUT", DataType.FP32, (4,), **output), Tensor("OTHER", DataType.FP32, (4,), array=kept)]
    made.sender.send(InferenceResponse("m", "1", "", outputs), True)
    out, other = sent.only().outputs
    one.fill(b"\xff" * 4096)
    assert out.array().tolist() == [0.0] * 4
    assert bytes(out.packed()) == bytes(16)
    assert other.array() is kept
