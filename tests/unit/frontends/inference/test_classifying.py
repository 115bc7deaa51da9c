"""The sender of a request that asks for classes, over the engine's own responses."""

from types import SimpleNamespace

import numpy as np
import pytest

from atoll.errors import InternalError, InvalidArgumentError
from atoll.frontends.inference.classification import send_classes
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import Tensor


class Sender:
    def __init__(self):
        self.sent = []

    def send(self, response, final):
        self.sent.append((response, final))


def asking(classes, labels=None, max_batch_size=0):
    """A request's own sender, and the one that the engine sends to."""
    model = SimpleNamespace(labels=labels or {}, config=SimpleNamespace(max_batch_size=max_batch_size))
    sender = Sender()
    request = InferenceRequest("m", {}, sender)
    send_classes(request, classes, model)
    return sender, request.sender


def response(**outputs):
    tensors = [Tensor.from_numpy(name, np.array(values)) for name, values in outputs.items()]
    return InferenceResponse("m", "1", "id", tensors, {"key": 1})


def test_only_the_outputs_that_were_asked_for_so_are_classes():
    sender, engines = asking({"A": 1, "C": 2}, {"A": ("x", "y"), "B": ("z",)})
    given = response(A=[1, 2], B=[1.5])
    engines.send(given, True)
    ((answer, final),) = sender.sent
    assert final
    assert (answer.model_name, answer.model_version, answer.id, answer.parameters) == ("m", "1", "id", {"key": 1})
    assert answer["A"].tolist() == [b"2:1:y"]
    assert answer["B"].tolist() == [1.5]
    assert given["A"].tolist() == [1, 2]  # others may have the engine's response: it stays as it is


def test_every_response_of_a_decoupled_model_has_classes_and_its_end_goes_on():
    sender, engines = asking({"A": 1}, max_batch_size=8)
    engines.send(response(A=[[1, 2]]), False)
    engines.send(response(A=[[4, 3]]), False)
    engines.send(None, True)
    assert [final for _, final in sender.sent] == [False, False, True]
    assert [one["A"].tolist() for one, _ in sender.sent[:2]] == [[[b"2:1"]], [[b"4:0"]]]
    assert sender.sent[2][0] is None


def test_an_error_stays_the_error():
    sender, engines = asking({"A": 1})
    failed = InferenceResponse("m", "1", "id", error=InvalidArgumentError("no"))
    engines.send(failed, True)
    assert sender.sent == [(failed, True)]


def test_an_output_without_classes_is_an_error():
    sender, engines = asking({"A": 1})
    engines.send(response(A=[True]), True)
    ((answer, final),) = sender.sent
    assert (answer.model_name, answer.id, answer.outputs, final) == ("m", "id", [], True)
    with pytest.raises(InvalidArgumentError, match="unsupported type 'BOOL'"):
        answer["A"]


def test_labels_that_cannot_be_read_are_an_error_and_not_a_request_without_an_answer():
    sender, engines = asking({"A": 1}, {"A": 5})
    engines.send(response(A=[1.0]), True)
    ((answer, final),) = sender.sent
    assert final
    assert isinstance(answer.error, InternalError)
    assert "classifying the outputs failed: TypeError" in str(answer.error)
