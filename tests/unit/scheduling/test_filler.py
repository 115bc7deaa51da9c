"""The requests with which the empty slots of a batch are filled."""

import numpy as np
from tests.unit.scheduling.queued import Silent

from atoll.request import QUEUED, InferenceRequest
from atoll.scheduling.sequences.filler import Fillers
from atoll.scheduling.sequences.sequence import ABSENT
from atoll.tensor import DataType, Tensor


def request(*tensors: Tensor, key: object = None) -> InferenceRequest:
    made = InferenceRequest("m", {one.name: one for one in tensors}, Silent(), output_names=("OUT",))
    made.batch_key = key
    return made


def of(name: str, datatype: DataType, *shape: int) -> Tensor:
    array = np.full(shape, b"text", np.object_) if datatype is DataType.BYTES else np.ones(shape, datatype.dtype)
    return Tensor(name, datatype, shape, array=array)


def test_a_filler_is_of_zeros_in_the_other_ones_shapes() -> None:
    real = request(of("A", DataType.FP32, 1, 3), of("B", DataType.BYTES, 1, 2), of("C", DataType.BF16, 1))
    filler = Fillers().like(real)
    found = {name: (one.datatype, one.array().tolist()) for name, one in filler.inputs.items()}
    assert found == {
        "A": (DataType.FP32, [[0, 0, 0]]),
        "B": (DataType.BYTES, [[b"", b""]]),
        "C": (DataType.BF16, [0]),
    }
    assert (filler.filler, filler.step, filler.sequence, filler.state) == (True, ABSENT, None, QUEUED)
    assert filler.output_names == ("OUT",)


def test_input_that_came_packed_is_not_unpacked_for_it() -> None:
    real = request(Tensor("A", DataType.INT8, (1, 2), buffer=b"\x01\x02"))
    assert Fillers().like(real).inputs["A"].array().tolist() == [[0, 0]]


def test_each_has_inputs_of_its_own_to_be_added_to() -> None:
    one, other = Fillers().several(request(of("A", DataType.FP32, 1)), 2)
    one.inputs["START"] = of("START", DataType.FP32, 1)
    assert list(other.inputs) == ["A"]
    assert one.inputs["A"] is other.inputs["A"]  # made once


def test_other_shapes_and_other_inputs_need_other_zeros() -> None:
    fillers = Fillers()
    narrow = fillers.like(request(of("A", DataType.FP32, 1, 2), key=2))
    wider = fillers.like(request(of("A", DataType.FP32, 1, 3), key=3))
    assert wider.inputs["A"].shape == (1, 3)
    assert narrow.inputs["A"].shape == (1, 2)
    without = fillers.like(request(of("B", DataType.FP32, 1, 3), key=3))
    assert list(without.inputs) == ["B"]


def test_they_are_made_once() -> None:
    fillers = Fillers()
    first = fillers.several(request(of("A", DataType.FP32, 1)), 3)
    again = fillers.several(request(of("A", DataType.FP32, 1)), 5)
    assert len(set(again)) == 5
    assert again[:3] == first


def test_a_ragged_input_is_as_long_as_the_request_that_the_batch_runs_for_has_it() -> None:
    fillers = Fillers()
    assert fillers.like(request(of("A", DataType.FP32, 1, 9000))).inputs["A"].shape == (1, 9000)
    assert fillers.like(request(of("A", DataType.FP32, 1, 2))).inputs["A"].shape == (1, 2)  # ragged: of the same key
