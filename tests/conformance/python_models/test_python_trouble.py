"""A Python model that crashes, hangs, eats memory or is killed: it alone is hit, comes back and leaves nothing."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.process import ServerProcess, start_atoll, wait_until
from tests.conformance.python_models.scenarios import MODELS
from tests.conformance.wire import Exchange

FINE, EXIT, SEGFAULT, LOOP, HOLD, ALLOCATE, PRINT, THREAD, PROCESS, SECOND = range(10)


class Troubled:
    """A server of the models `trouble` and `identity`, with a name of its own for its shared memory."""

    def __init__(self, server: ServerProcess, prefix: str) -> None:
        self.server, self.prefix = server, prefix

    def ask(self, deed: int, model: str = "trouble") -> Exchange:
        tensor = f'{{"inputs":[{{"name":"INPUT0","datatype":"FP32","shape":[1],"data":[{deed}]}}]}}'
        return self.server.exchange("POST", f"/v2/models/{model}/infer", body=tensor.encode(), timeout_s=60.0)

    def process(self) -> int:
        """The number of the model's process, as soon as it answers."""
        found: list[int] = []

        def answered() -> bool:
            answer = self.ask(FINE)
            found.extend(answer.json()["outputs"][0]["data"] if answer.status == 200 else [])
            return bool(found)

        wait_until(answered, "answer of the model", self.server, 60.0)
        return found[0]

    def ready(self) -> bool:
        return self.server.exchange("GET", "/v2/models/trouble/ready").status == 200

    def shared_memory(self) -> list[str]:
        return [path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(self.prefix)]


@pytest.fixture
def troubled(tmp_path: Path) -> Iterator[Troubled]:
    yield from _serve(tmp_path)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubled]:
    """One for all tests that it survives."""
    yield from _serve(tmp_path_factory.mktemp("trouble"))


def _serve(folder: Path) -> Iterator[Troubled]:
    for name in ("trouble", "identity"):
        shutil.copytree(MODELS / name, folder / "models" / name, ignore=shutil.ignore_patterns("__pycache__"))
    prefix = f"atoll_test_{os.getpid()}_{time.monotonic_ns()}_"
    options = [f"--backend-config=python,shm-region-prefix-name={prefix}"]
    options += ["--backend-config=python,stub-timeout-seconds=2", "--exit-timeout-secs=2"]
    with start_atoll(folder / "models", folder / "log", *options) as server:
        yield Troubled(server, prefix)


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (EXIT, ("exited with code 3",)),
        (SEGFAULT, ("SIGSEGV",)),
        (LOOP, ("model.py", "loop")),
        (HOLD, ("took longer than 4 s",)),
    ],
)
def test_the_request_learns_what_happened_and_the_model_comes_back(
    lasting: Troubled, deed: int, words: tuple[str, ...]
) -> None:
    before = lasting.process()
    answer = lasting.ask(deed)
    assert answer.status == 500
    assert "Stub process 'trouble_0_0' is not healthy." in answer.error
    assert all(word in answer.error for word in words), answer.error
    assert lasting.process() != before
    assert not Path(f"/proc/{before}").exists()


def test_other_models_are_served_meanwhile(lasting: Troubled) -> None:
    lasting.process()
    with ThreadPoolExecutor(1) as pool:
        looping = pool.submit(lasting.ask, LOOP)
        answers = []
        while not looping.done():
            answers.append(lasting.ask(FINE, "identity").status)
        assert looping.result().status == 500
    assert set(answers) == {200}


def test_a_model_whose_process_is_gone_is_not_ready(lasting: Troubled) -> None:
    os.kill(lasting.process(), signal.SIGSTOP)
    wait_until(lambda: not lasting.ready(), "model that is not ready", lasting.server)
    lasting.process()
    wait_until(lasting.ready, "model that is ready again", lasting.server)


def test_a_process_killed_from_outside_fails_what_it_was_executing(lasting: Troubled) -> None:
    process = lasting.process()
    with ThreadPoolExecutor(1) as pool:
        future: Future[Exchange] = pool.submit(lasting.ask, SECOND)
        time.sleep(0.3)
        os.kill(process, signal.SIGKILL)
        answer = future.result()
    assert answer.status == 500
    assert "SIGKILL" in answer.error
    assert lasting.process() != process


def test_an_allocation_beyond_the_limit_is_an_error_of_its_own(lasting: Troubled) -> None:
    process = lasting.process()
    answer = lasting.ask(ALLOCATE)
    assert answer.status == 500
    assert "MemoryError" in answer.error
    assert "model.py" in answer.error
    assert lasting.process() == process


def test_a_model_that_prints_a_lot_is_served_on(lasting: Troubled) -> None:
    process = lasting.process()
    assert lasting.ask(PRINT).status == 200
    assert lasting.process() == process


def test_threads_and_processes_left_behind_do_not_keep_a_model(troubled: Troubled) -> None:
    process = troubled.process()
    assert [troubled.ask(deed).status for deed in (THREAD, PROCESS)] == [200, 200]
    children = _children(process)
    assert children
    troubled.server.terminate()
    assert troubled.server.wait(30) == 0
    wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in (process, *children)), "end of all processes")
    assert troubled.shared_memory() == []


def test_a_looping_model_does_not_keep_the_server(troubled: Troubled) -> None:
    process = troubled.process()
    asking = threading.Thread(target=_ignoring_errors, args=(troubled, LOOP), daemon=True)
    asking.start()
    time.sleep(0.3)
    troubled.server.terminate()
    troubled.server.wait(30)
    asking.join(30)
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "end of the model's process")
    assert troubled.shared_memory() == []


def test_a_killed_server_leaves_neither_processes_nor_shared_memory(troubled: Troubled) -> None:
    process = troubled.process()
    troubled.server.process.kill()
    troubled.server.process.wait(30)
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "end of the model's process")
    assert troubled.shared_memory() == []


def _children(process: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def _ignoring_errors(troubled: Troubled, deed: int) -> Any:
    try:
        return troubled.ask(deed)
    except OSError:
        return None
