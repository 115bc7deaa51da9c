"""That an instance answers batches rightly: their sizes and shapes, the outputs asked for, whose memory is whose."""

import gc

import numpy as np
import pytest

from atoll.backends.api import Instance
from atoll.errors import InvalidArgumentError
from atoll.tensor import Array
from atoll.testing.backend_contract.making import Making, rows
from atoll.testing.backend_contract.workshop import MadeModel, Workshop, instance_of

ODD_BYTES = {
    "no text": [b"fine", b"\xff\xfe", b"\x80", b""],
    "NULs at the end": [b"\x00", b"end\x00", b"end\x00\x00", b"whole"],
}


def answer(instance: Instance, made: MadeModel, sent: Array) -> Array:
    """The one output of a model with one input."""
    name = made.outputs[0][0]
    return instance.execute({made.inputs[0][0]: sent}, [name])[name]


class ExecutionContract(Making):
    """Execution, through the backend itself."""

    def test_batches_of_any_size(self, workshop: Workshop) -> None:
        self.needs("batching")
        made = self.identity_model(workshop)
        with workshop.instance(made) as instance:
            for count in (1, 2, 8, 3, 1):
                sent = rows(count)
                np.testing.assert_array_equal(answer(instance, made, sent), sent)

    def test_a_model_without_a_batch_dimension(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop, batching=False)
        with workshop.instance(made) as instance:
            sent = rows(1)[0]
            np.testing.assert_array_equal(answer(instance, made, sent), sent)

    def test_a_dimension_of_any_size(self, workshop: Workshop) -> None:
        self.needs("batching")
        made = self.identity_model(workshop, dims=(-1,))
        with workshop.instance(made) as instance:
            for shape in ((2, 3), (3, 1), (1, 100_000), (2, 3)):
                sent = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
                np.testing.assert_array_equal(answer(instance, made, sent), sent)

    @pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
    def test_a_batch_of_nothing(self, workshop: Workshop, datatype: str) -> None:
        self.needs("empty batches", "batching")
        made = self.identity_model(workshop, datatype)
        with workshop.instance(made) as instance:
            sent = np.empty((0, 4), np.float32 if datatype == "FP32" else np.object_)
            found = answer(instance, made, sent)
            assert found.shape == (0, 4)
            assert found.dtype == sent.dtype

    @pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
    def test_a_dimension_of_nothing(self, workshop: Workshop, datatype: str) -> None:
        self.needs("zero size", "batching")
        made = self.identity_model(workshop, datatype, dims=(-1,))
        with workshop.instance(made) as instance:
            sent = np.empty((2, 0), np.float32 if datatype == "FP32" else np.object_)
            found = answer(instance, made, sent)
            assert found.shape == (2, 0)
            assert found.dtype == sent.dtype

    @pytest.mark.parametrize("batching", [True, False])
    def test_scalars(self, workshop: Workshop, batching: bool) -> None:
        made = self.identity_model(workshop, dims=(), batching=batching)
        with workshop.instance(made) as instance:
            sent = np.array([1, 2, 3] if batching else 7, np.float32)
            found = answer(instance, made, sent)
            assert found.shape == sent.shape
            np.testing.assert_array_equal(found, sent)

    def test_only_the_outputs_asked_for(self, workshop: Workshop) -> None:
        made = self.sum_model(workshop)
        (a, b), (total, difference) = [[name for name, _, _ in specs] for specs in (made.inputs, made.outputs)]
        first, second = rows(2), rows(2)[::-1].copy()
        if not made.batching:
            first, second = first[0], second[0]
        with workshop.instance(made) as instance:
            for wanted in ([total], [difference], [total, difference], [difference, total]):
                found = instance.execute({b: second, a: first}, wanted)
                assert found.keys() >= set(wanted)
                if total in wanted:
                    np.testing.assert_array_equal(found[total], first + second)
                if difference in wanted:
                    np.testing.assert_array_equal(found[difference], first - second)

    # ---- whose memory it is

    def test_inputs_are_read_and_not_written(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop)
        shape = (2, 4) if made.batching else (4,)
        values = np.arange(np.prod(shape), dtype=np.float32)
        for offset in (0, 1, 2):  # what comes over HTTP begins anywhere in memory
            buffer = b"\xff" * offset + values.tobytes()
            sent = np.frombuffer(buffer, np.float32, offset=offset).reshape(shape)
            assert not sent.flags.writeable
            with workshop.instance(made) as instance:
                found = answer(instance, made, sent)
                np.testing.assert_array_equal(found, values.reshape(shape))
                assert not np.shares_memory(found, sent), "an output is the client's memory, which goes away"
            assert buffer == b"\xff" * offset + values.tobytes()

    def test_outputs_outlive_the_next_execution_and_the_model(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop)
        sent = [rows(2) + number for number in range(4)]
        if not made.batching:
            sent = [one[0] for one in sent]
        with workshop.instance(made) as instance:
            found = [answer(instance, made, one.copy()) for one in sent]
            for one, expected in zip(found, sent, strict=True):
                np.testing.assert_array_equal(one, expected, "a later execution has written into an answer")
        del instance
        gc.collect()
        for one, expected in zip(found, sent, strict=True):
            np.testing.assert_array_equal(one, expected, "an answer went away with its model")

    def test_an_input_may_change_once_execute_has_returned(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop)
        sent = rows(2) if made.batching else rows(1)[0]
        expected = sent.copy()
        with workshop.instance(made) as instance:
            found = answer(instance, made, sent)
            sent[...] = -1  # the engine's memory is used again for the next batch
            np.testing.assert_array_equal(found, expected)

    # ---- what a request may do wrong

    @pytest.mark.parametrize("kind", ODD_BYTES)
    def test_odd_bytes_go_through_or_are_refused(self, workshop: Workshop, kind: str) -> None:
        made = self.identity_model(workshop, "BYTES")
        shape = (1, 4) if made.batching else (4,)
        odd = np.array(ODD_BYTES[kind], np.object_).reshape(shape)
        good = np.array([b"a", b"b", b"c", b"d"], np.object_).reshape(shape)
        with workshop.instance(made) as instance:
            try:
                found, refusal = answer(instance, made, odd).tolist(), ""
            except InvalidArgumentError as error:  # so that the neighbours in the batch are not hit
                found, refusal = None, str(error)
            assert found == odd.tolist() or made.inputs[0][0] in refusal
            assert answer(instance, made, good).tolist() == good.tolist()

    def test_instances_share_a_model_and_close_one_by_one(self, workshop: Workshop) -> None:
        self.needs("instances")
        made = self.identity_model(workshop)
        sent = rows(2) if made.batching else rows(1)[0]
        with workshop.loaded(made) as model:
            first, second = instance_of(model, 0), instance_of(model, 1)
            np.testing.assert_array_equal(answer(first, made, sent), sent)
            first.close()
            np.testing.assert_array_equal(answer(second, made, sent), sent)
            second.close()
