"""A deadline reaches the Python model that is too slow: its request says that it is cancelled."""

from pathlib import Path
from time import monotonic_ns

import numpy as np
import pytest
from tests.unit.server.python_repository import Asked, eventually, serving, write_python

from atoll.errors import DeadlineExceededError
from atoll.request import InferenceRequest
from atoll.tensor import Tensor

CODE = """
def each(request):
    note(NOTES, "b")
    while not request.is_cancelled():
        time.sleep(0.001)
    note(NOTES, "c")
    return answer(value(request))
"""


@pytest.mark.parametrize("placement", ["process", "thread"])
def test_a_running_model_hears_of_it_and_goes_on(tmp_path: Path, placement: str) -> None:
    notes = write_python(tmp_path, "m", CODE, parameters={"isolation": placement, "deadline_seconds": "0.2"})
    with serving(tmp_path) as server:
        for round_number in (1, 2):
            asked = Asked(server, "m", [1])
            assert asked.error == "[request id: <id_unknown>] model 'm' did not answer within the 200 ms that the " + (
                "request had"
            )
            assert isinstance(asked.responses[0].error, DeadlineExceededError)
            eventually(lambda n=round_number: notes.read_text() == "bc" * n, "the model sees it")  # type: ignore[misc]
        eventually(lambda: server.in_flight() == 0, "nothing is left")
        [statistics] = server.statistics("m")
        assert statistics.success.count + statistics.fail.count == 2


def test_a_request_that_comes_too_late_is_refused(tmp_path: Path) -> None:
    write_python(tmp_path, "m", CODE, parameters={"isolation": "thread"})
    with serving(tmp_path) as server:
        sender = Asked.__new__(Asked)
        request = InferenceRequest("m", {"IN": Tensor.from_numpy("IN", np.zeros(1, np.float32))}, sender)
        request.deadline_ns = monotonic_ns() - 1
        with pytest.raises(DeadlineExceededError):
            server.submit(request)
        assert server.in_flight() == 0
