"""That a model works in a server: batches are formed of requests, instances work side by side, cancelled requests are
not executed, and all is closed that was opened.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atoll.calls import ThreadReply, request_of
from atoll.errors import AtollError, CancelledError, InvalidArgumentError
from atoll.request import InferenceRequest
from atoll.server import Server
from atoll.tensor import Array
from atoll.testing.backend_contract.making import Making, rows
from atoll.testing.backend_contract.watching import Watched
from atoll.testing.backend_contract.workshop import LARGEST_BATCH, MadeModel, Workshop

TIMEOUT_S = 60.0  # for what takes milliseconds, on a machine that has other work
Serve = Callable[..., str]


class ServingContract(Making):
    """A model in an `atoll.Server`."""

    @pytest.fixture
    def watched(self, monkeypatch: pytest.MonkeyPatch) -> Watched:
        """What the backend's models are asked to do while the test runs; it may hold their executions up."""
        return Watched(self.backend.name, monkeypatch)

    def test_a_request_is_answered(self, workshop: Workshop, server: Server, repository: Path) -> None:
        made = self.identity_model(workshop)
        name = self.loaded(workshop, server, repository, made)
        sent = rows(3) if made.batching else rows(1)[0]
        response = server.infer(name, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)
        np.testing.assert_array_equal(response[made.outputs[0][0]], sent)
        server.unload_model(name)

    def test_strings_are_answered(self, workshop: Workshop, server: Server, repository: Path) -> None:
        made = self.identity_model(workshop, "BYTES")
        name = self.loaded(workshop, server, repository, made)
        words = ["", "größer", "a\x00b", "🌊"]
        sent = [words] if made.batching else words
        response = server.infer(name, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)
        assert response[made.outputs[0][0]].ravel().tolist() == [one.encode() for one in words]
        server.unload_model(name)

    def test_scalars_are_answered(self, workshop: Workshop, server: Server, repository: Path) -> None:
        self.needs("batching")
        made = self.identity_model(workshop, dims=())
        name = self.loaded(workshop, server, repository, made)
        sent = np.array([[1], [2], [3]], np.float32)  # a client sends one element for each item
        response = server.infer(name, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)
        np.testing.assert_array_equal(response[made.outputs[0][0]], sent)
        server.unload_model(name)

    def test_only_the_outputs_asked_for_are_answered(
        self, workshop: Workshop, server: Server, repository: Path
    ) -> None:
        made = self.sum_model(workshop)
        name = self.loaded(workshop, server, repository, made)
        first, second = rows(2), rows(2)[::-1].copy()
        if not made.batching:
            first, second = first[0], second[0]
        (a, b), (total, difference) = [[name for name, _, _ in specs] for specs in (made.inputs, made.outputs)]
        expected = {total: first + second, difference: first - second}
        for wanted in ([difference], [total], []):
            response = server.infer(name, {a: first, b: second}, outputs=wanted, timeout=TIMEOUT_S)
            assert [one.name for one in response.outputs] == (wanted or [total, difference])
            for one in response.outputs:
                np.testing.assert_array_equal(one.array(), expected[one.name])
        server.unload_model(name)

    def test_tensors_of_nothing_are_answered(self, workshop: Workshop, server: Server, repository: Path) -> None:
        self.needs("zero size", "batching")
        made = self.identity_model(workshop, dims=(-1,))
        name = self.loaded(workshop, server, repository, made)
        response = server.infer(name, {made.inputs[0][0]: np.empty((2, 0), np.float32)}, timeout=TIMEOUT_S)
        assert response[made.outputs[0][0]].shape == (2, 0)
        server.unload_model(name)

    def test_one_thread_after_the_other_may_drive(self, workshop: Workshop, server: Server, repository: Path) -> None:
        made = self.identity_model(workshop)
        name = self.loaded(workshop, server, repository, made)
        for number in range(100):  # enough for an instance to have shown that its executions are short
            sent = (rows(2) if made.batching else rows(1)[0]) + number
            response = server.infer(name, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)
            np.testing.assert_array_equal(response[made.outputs[0][0]], sent)
        (statistics,) = server.statistics(name)
        assert statistics.execution_count == 100
        with workshop.loaded(made) as model:
            if not getattr(model, "bounded", self.backend.capabilities.bounded):
                assert statistics.driven_by_submitter == 0
        server.unload_model(name)

    def test_an_output_that_is_not_as_configured(self, workshop: Workshop, server: Server, repository: Path) -> None:
        if "shapes" not in self.cannot:
            pytest.skip("the model's file says the shapes: such a configuration is refused at load")
        made = self.identity_model(workshop)
        wrong, right = workshop.fresh_name(), self.loaded(workshop, server, repository, made)
        ((output, datatype, _),) = made.outputs
        workshop.put(repository, wrong, made, made.config(outputs=[(output, datatype, (5,))]))
        sent = rows(1) if made.batching else rows(1)[0]

        def use() -> None:
            server.load_model(wrong)  # refused here, or, where only the answer tells it:
            server.infer(wrong, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)

        with pytest.raises(AtollError, match=output):
            use()
        response = server.infer(right, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)
        np.testing.assert_array_equal(response[output], sent)

    def test_requests_are_joined(self, workshop: Workshop, server: Server, repository: Path, watched: Watched) -> None:
        self.needs("batching")
        made = self.identity_model(workshop)
        name = self.loaded(workshop, server, repository, made, "dynamic_batching {}")
        watched.hold()
        first = self.submitted(server, name, made, rows(1) - 1)
        watched.wait_inside(1)
        sizes = (1, 3, 2, 4, 1, 1)
        sent = [rows(size) + 100 * number for number, size in enumerate(sizes)]
        replies = [self.submitted(server, name, made, one) for one in sent]
        watched.release()
        np.testing.assert_array_equal(self.answer_of(first, made), rows(1) - 1)
        for reply, expected in zip(replies, sent, strict=True):
            np.testing.assert_array_equal(self.answer_of(reply, made), expected)
        server.unload_model(name)
        batches = [one.batch_size for one in watched.executions]
        assert sum(batches) == 1 + sum(sizes)
        assert max(batches) <= LARGEST_BATCH, "more than max_batch_size"
        assert len(batches) < 1 + len(sizes), "requests that wait together are one batch"

    def test_a_cancelled_request_is_not_executed(
        self, workshop: Workshop, server: Server, repository: Path, watched: Watched
    ) -> None:
        made = self.identity_model(workshop)
        name = self.loaded(workshop, server, repository, made, "dynamic_batching {}" if made.batching else "")
        values = [rows(1) + 10 * number for number in range(4)]
        if not made.batching:
            values = [one[0] for one in values]
        watched.hold()
        first = self.submitted(server, name, made, values[0])
        watched.wait_inside(1)
        replies = [self.submitted(server, name, made, one) for one in values[1:]]
        replies[1][1].cancel()
        watched.release()
        for reply, expected in zip((first, replies[0], replies[2]), (values[0], values[1], values[3]), strict=True):
            np.testing.assert_array_equal(self.answer_of(reply, made), expected)
        with pytest.raises(CancelledError):
            self.answer_of(replies[1], made)
        server.unload_model(name)
        seen = np.concatenate([one.inputs[made.inputs[0][0]].ravel() for one in watched.executions])
        assert 20 not in seen, "the cancelled request's values were executed"

    def test_instances_execute_at_once(
        self, workshop: Workshop, server: Server, repository: Path, watched: Watched
    ) -> None:
        self.needs("instances")
        made = self.identity_model(workshop)
        name = self.loaded(workshop, server, repository, made, "instance_group [{kind: KIND_CPU, count: 2}]")
        watched.hold()
        values = [rows(1) + 10 * number for number in range(40)]
        if not made.batching:
            values = [one[0] for one in values]
        replies = [self.submitted(server, name, made, one) for one in values]
        watched.wait_inside(2)  # both are in an execution now, and go into the framework together
        watched.release()
        for reply, expected in zip(replies, values, strict=True):
            np.testing.assert_array_equal(self.answer_of(reply, made), expected)
        server.unload_model(name)
        assert len({id(one.instance) for one in watched.executions}) == 2

    def test_a_wrong_request_hits_no_other(self, workshop: Workshop, server: Server, repository: Path) -> None:
        made = self.identity_model(workshop)
        name = self.loaded(workshop, server, repository, made)
        sent = rows(1) if made.batching else rows(1)[0]
        with pytest.raises(InvalidArgumentError):
            server.infer(name, {made.inputs[0][0]: np.zeros((3, 3, 3), np.float32)}, timeout=TIMEOUT_S)
        response = server.infer(name, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)
        np.testing.assert_array_equal(response[made.outputs[0][0]], sent)
        server.unload_model(name)

    def test_it_is_warm_before_it_is_ready(
        self, workshop: Workshop, server: Server, repository: Path, watched: Watched
    ) -> None:
        made = self.identity_model(workshop)
        tensor = f'{{key: "{made.inputs[0][0]}" value {{data_type: TYPE_FP32 dims: [4] zero_data: true}}}}'
        size = 2 if made.batching else 1
        warmup = f'model_warmup [{{name: "zeros" batch_size: {size} count: 3 inputs {tensor}}}]'
        one_instance = "instance_group [{kind: KIND_CPU, count: 1}]"
        name = self.loaded(workshop, server, repository, made, f"{warmup}\n{one_instance}")
        assert len(watched.executions) == 3
        for one in watched.executions:
            found = one.inputs[made.inputs[0][0]]
            assert found.shape == ((2, 4) if made.batching else (4,))
            assert not found.any()
        server.unload_model(name)

    def test_a_model_is_loaded_anew_and_unloaded(
        self, workshop: Workshop, server: Server, repository: Path, watched: Watched
    ) -> None:
        made = self.identity_model(workshop)
        name = self.loaded(workshop, server, repository, made)
        sent = rows(1) if made.batching else rows(1)[0]
        more = 'parameters: {key: "nothing_reads_this" value: {string_value: "1"}}'
        workshop.put(repository, name, made, made.config(more=more))
        server.load_model(name)
        response = server.infer(name, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)
        np.testing.assert_array_equal(response[made.outputs[0][0]], sent)
        server.unload_model(name)
        with pytest.raises(AtollError):
            server.infer(name, {made.inputs[0][0]: sent}, timeout=TIMEOUT_S)
        watched.wait_closed(TIMEOUT_S)
        assert watched.mistakes() == []
        assert len(watched.models) == 2
        server.load_model(name)
        server.unload_model(name)

    def loaded(self, workshop: Workshop, server: Server, repository: Path, made: MadeModel, more: str = "") -> str:
        """The name under which the server now has the model, with one instance where `more` says nothing of it."""
        name = workshop.fresh_name()
        instances = "" if "instance_group" in more else "instance_group [{kind: KIND_CPU, count: 1}]"
        workshop.put(repository, name, made, made.config(more=f"{more}\n{instances}"))
        server.load_model(name)
        return name

    def submitted(
        self, server: Server, name: str, made: MadeModel, sent: Array
    ) -> tuple[ThreadReply, InferenceRequest]:
        """A request on its way, and where its answer will be."""
        reply = ThreadReply()
        specs = server.model(name).input_specs
        request = request_of(name, "", {made.inputs[0][0]: sent}, specs, reply, (), "", None)
        server.submit(request)
        return reply, request

    def answer_of(self, submitted: tuple[ThreadReply, InferenceRequest], made: MadeModel) -> Array:
        """The output, waited for."""
        reply, _ = submitted
        assert reply.wait(TIMEOUT_S), "no answer came"
        return reply.result()[made.outputs[0][0]]
