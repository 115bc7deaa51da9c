"""Sequences of Python models in their processes: where they live, what ends them, and what is executed again."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.server.python_repository import PATIENCE_S, eventually, serving, write_python
from tests.unit.server.sequence_models import ask

import atoll
from atoll.errors import AtollError, ConfigError, InvalidArgumentError, UnavailableError
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import Tensor

SUM_OF_ITS_OWN = """
import itertools
class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}
    def execute(self, requests):
        return [self.answer(request) for request in requests]
    def answer(self, request):
        said = float(value(request).ravel()[0])
        if said == -1:
            os._exit(5)
        if said == -2:
            raise ValueError("no")
        key = request.correlation_id()
        if request.flags() & 1:
            self.sums[key] = 0.0
        self.sums[key] += said
        total = self.sums.pop(key) if request.flags() & 2 else self.sums[key]
        return answer(np.array([total, os.getpid()], np.float32))
"""
WALLS = pytest.mark.parametrize("wall", ["process", "thread"])


def batching(text: str) -> str:
    return f"sequence_batching {{ max_sequence_idle_microseconds: 60000000 {text} }}\n"


def send(server: atoll.Server, key: Any, number: float, *, start: bool = False, end: bool = False) -> list[float]:
    """What the model `sums` answers: the sum of the sequence so far, and the number of its process."""
    response = ask(server, "sums", key, number, start=start, end=end, flat=True)
    return [float(one) for one in response["OUT"]]


def test_a_sequence_lives_in_one_process(tmp_path: Path) -> None:
    write_python(tmp_path, "sums", SUM_OF_ITS_OWN, instances=3, more=batching("oldest { max_candidate_sequences: 8 }"))
    wrong: list[Any] = []
    processes: dict[int, set[float]] = {}

    def client(key: int) -> None:
        total = 0.0
        try:
            for number in range(20):
                total += number
                found, process = send(server, key, number, start=number == 0, end=number == 19)
                processes.setdefault(key, set()).add(process)
                if found != total:
                    wrong.append((key, number, found, total))
        except AtollError as error:
            wrong.append(error)

    with serving(tmp_path) as server:
        threads = [threading.Thread(target=client, args=(key,)) for key in range(1, 13)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        [counted] = server.statistics("sums")
    assert not wrong
    assert {len(one) for one in processes.values()} == {1}
    assert len(set.union(*processes.values())) == 3
    assert counted.success.count == 240


@WALLS
def test_what_a_model_raises_leaves_its_sequence_alive(tmp_path: Path, wall: str) -> None:
    write_python(tmp_path, "sums", SUM_OF_ITS_OWN, parameters={"isolation": wall}, more=batching("direct {}"))
    with serving(tmp_path) as server:
        send(server, "text", 5, start=True)
        with pytest.raises(AtollError, match="ValueError: no"):
            send(server, "text", -2)
        assert send(server, "text", 2, end=True)[0] == 7
        with pytest.raises(InvalidArgumentError, match="sequence text to model 'sums' must specify the START flag"):
            send(server, "text", 1)


def test_sequences_of_a_process_that_ends(tmp_path: Path) -> None:
    write_python(tmp_path, "sums", SUM_OF_ITS_OWN, instances=2, more=batching("oldest { max_candidate_sequences: 1 }"))
    with serving(tmp_path) as server:
        first, second = (int(send(server, key, key, start=True)[1]) for key in (1, 2))
        assert first != second
        waiting = threading.Thread(target=lambda: answers.append(send(server, 3, 3, start=True)))
        answers: list[list[float]] = []
        waiting.start()
        with pytest.raises(AtollError, match=r"."):
            send(server, 1, -1)
        waiting.join(PATIENCE_S)  # it has the slot of the sequence that is lost, in the process that took its place
        assert answers[0][0] == 3
        assert int(answers[0][1]) != second
        with pytest.raises(InvalidArgumentError, match="must specify the START flag"):
            send(server, 1, 1)
        assert send(server, 2, 1) == [3, second]


def test_a_process_that_is_killed_between_two_requests(tmp_path: Path) -> None:
    write_python(tmp_path, "sums", SUM_OF_ITS_OWN, more=batching("direct {}"))
    with serving(tmp_path) as server:
        process = int(send(server, 1, 5, start=True)[1])
        os.kill(process, signal.SIGKILL)
        refused: list[AtollError] = []

        def over() -> bool:
            try:
                send(server, 1, 1)
            except (UnavailableError, AtollError) as error:
                refused.append(error)
            return bool(refused) and isinstance(refused[-1], InvalidArgumentError)

        eventually(over, "its sequence is over")
        assert send(server, 1, 5, start=True)[0] == 5


ROUNDS = """
class TritonPythonModel:
    def initialize(self, args):
        self.rounds = {}
    def execute(self, requests):
        return [self.answer(request) for request in requests]
    def answer(self, request):
        key = request.correlation_id()
        if request.flags() & 1:
            assert key not in self.rounds, "an ID was given twice"
            self.rounds[key] = 0
        self.rounds[key] += 1
        if self.rounds[key] < value(request).ravel()[0]:
            request.set_release_flags(pb.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return None
        return answer(np.array([self.rounds.pop(key), os.getpid()], np.float32))
"""
DECOUPLED_ROUNDS = """
class TritonPythonModel:
    def initialize(self, args):
        self.rounds = {}
    def execute(self, requests):
        for request in requests:
            key = request.correlation_id()
            done = self.rounds[key] = self.rounds.pop(key, 0) + 1
            sender = request.get_response_sender()
            sender.send(answer(np.array([done], np.float32)))
            if done < value(request).ravel()[0]:
                request.set_release_flags(pb.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            else:
                del self.rounds[key]
                sender.send(flags=FINAL)
"""


class Heard:
    def __init__(self) -> None:
        self.values: list[float] = []
        self.errors: list[str] = []
        self.ended = threading.Event()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None and response.error is not None:
            self.errors.append(str(response.error))
        elif response is not None:
            self.values.append(float(response["OUT"].ravel()[0]))
        if final:
            assert not self.ended.is_set()
            self.ended.set()


def submit(server: atoll.Server, model: str, rounds: int) -> Heard:
    heard = Heard()
    array = np.array([rounds], np.float32)
    server.submit(InferenceRequest(model, {"IN": Tensor.from_numpy("IN", array)}, heard))
    return heard


@WALLS
@pytest.mark.parametrize("strategy", ["direct {}", "oldest { max_candidate_sequences: 4 }"])
def test_requests_that_a_model_executes_again_until_they_are_done(tmp_path: Path, strategy: str, wall: str) -> None:
    more = batching(f"{strategy} iterative_sequence: true")
    write_python(tmp_path, "rounds", ROUNDS, instances=2, parameters={"isolation": wall}, more=more)
    with serving(tmp_path) as server:
        wanted = [1, 7, 3, 12, 1, 5, 2, 9, 4, 1]
        heard = [submit(server, "rounds", rounds) for rounds in wanted]
        assert all(one.ended.wait(PATIENCE_S) for one in heard)
    assert [one.errors for one in heard] == [[]] * 10
    assert [one.values for one in heard] == [[rounds] for rounds in wanted]


@WALLS
def test_a_decoupled_model_answers_in_every_round(tmp_path: Path, wall: str) -> None:
    more = batching("oldest { max_candidate_sequences: 4 } iterative_sequence: true")
    write_python(
        tmp_path, "rounds", DECOUPLED_ROUNDS, instances=2, decoupled=True, parameters={"isolation": wall}, more=more
    )
    with serving(tmp_path) as server:
        wanted = [4, 1, 6, 3]
        heard = [submit(server, "rounds", rounds) for rounds in wanted]
        assert all(one.ended.wait(PATIENCE_S) for one in heard)
    assert [one.values for one in heard] == [list(range(1, rounds + 1)) for rounds in wanted]


def test_the_backlog_runs_before_a_model_is_gone(tmp_path: Path) -> None:
    """Nothing can come any more of the sequence that has the slot."""
    write_python(tmp_path, "sums", SUM_OF_ITS_OWN, more=batching("direct {}"))
    answers: list[list[float]] = []
    with serving(tmp_path, model_control_mode="explicit", load_model=("sums",)) as server:
        send(server, 1, 1, start=True)
        waiting = threading.Thread(target=lambda: answers.append(send(server, 2, 4, start=True)))
        waiting.start()
        eventually(lambda: server.statistics("sums")[0].pending_request_count == 1, "it waits")
        server.unload_model("sums")
        waiting.join(PATIENCE_S)
    assert answers[0][0] == 4


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    def load(text: str, parameters: Any = None) -> str:
        write_python(tmp_path, "sums", SUM_OF_ITS_OWN, parameters=parameters, more=text)
        with pytest.raises(ConfigError) as error, serving(tmp_path, exit_on_error=True):
            pass
        return str(error.value)

    return load


def test_what_cannot_be_loaded_names_its_key(refused: Any) -> None:
    text = refused(batching("oldest { max_candidate_sequences: -2 }"))
    assert "sequence_batching.oldest.max_candidate_sequences" in text
    assert "must not be negative" in text
    text = refused(batching("direct { minimum_slot_utilization: 2 }"))
    assert "sequence_batching.direct.minimum_slot_utilization" in text
    text = refused(batching("direct {}"), {"max_backlog_sequences": "many"})
    assert "parameters.max_backlog_sequences" in text
