"""A server of the in-process API with small models, some of which answer many times."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.server.python_repository import write_python

from atoll import tritonserver as ts

THREAD = {"isolation": "thread"}
TWICE = """
def each(request):
    return answer(value(request) * 2)
"""
FAIL = """
def each(request):
    raise ValueError("told to")
"""
COUNT = """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            number = int(value(request)[0])
            sender = request.get_response_sender()
            for index in range(number):
                sender.send(answer(np.array([index], np.float32)))
            sender.send(flags=FINAL)
"""
FOREVER = """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            while not request.is_cancelled():
                sender.send(answer(value(request)))
                time.sleep(0.002)
            sender.send(flags=FINAL)
"""
PARAMETERS = """
def each(request):
    return pb.InferenceResponse(
        [pb.Tensor("OUT", np.array([request.timeout(), request.correlation_id(), request.flags()], np.float32))],
    )
"""
MODELS = {"twice": TWICE, "fail": FAIL, "count": COUNT, "forever": FOREVER, "facts": PARAMETERS}


def write_models(folder: Path) -> Path:
    """A repository."""
    for name, code in MODELS.items():
        write_python(folder, name, code, decoupled=name in ("count", "forever"), parameters=THREAD)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("in_process_models"))


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[ts.Server]:
    with ts.Server(model_repository=str(models)) as server:
        yield server
