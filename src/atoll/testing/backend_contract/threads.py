"""That instances answer rightly from any thread, several at once, and whether a backend may say that it is bounded."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from atoll.testing.backend_contract.execution import answer
from atoll.testing.backend_contract.making import Making, rows
from atoll.testing.backend_contract.workshop import Workshop, instance_of

TIMEOUT_S = 60.0
STANDARD_LIBRARY = Path(threading.__file__).parent
WAITING = {
    "asyncio/base_events.py": (),
    "concurrent/futures/_base.py": (),
    "multiprocessing/connection.py": (),
    "queue.py": (),
    "select": ("select",),
    "selectors.py": (),
    "socket.py": (),
    "subprocess.py": (),
    "threading.py": ("wait", "wait_for", "join"),
    "time": ("sleep",),
}
"""Where the standard library waits: its files and native modules, with the functions; none: any."""


def calls(work: Callable[[], object]) -> list[tuple[str, str]]:
    """The functions that run meanwhile on this thread: those in Python with their files, native ones with modules."""
    found: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            found.append((frame.f_code.co_filename, frame.f_code.co_name))
        elif event == "c_call":
            found.append((str(getattr(argument, "__module__", "")), getattr(argument, "__name__", "")))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return found


def waits(where: str, name: str) -> bool:
    """Whether such a call waits for somebody."""
    path = Path(where)
    place = path.relative_to(STANDARD_LIBRARY).as_posix() if path.is_relative_to(STANDARD_LIBRARY) else where
    return place in WAITING and (not WAITING[place] or name in WAITING[place])


class ThreadsContract(Making):
    """Instances in several threads, without a server."""

    @pytest.mark.parametrize("several", [False, True])
    def test_instances_answer_rightly_from_several_threads(self, workshop: Workshop, several: bool) -> None:
        self.needs("instances")
        made = self.sum_model(workshop) if several else self.identity_model(workshop)
        inputs, outputs = [[name for name, _, _ in specs] for specs in (made.inputs, made.outputs)]
        wrong: list[object] = []
        with workshop.loaded(made) as model:
            instances = [instance_of(model, number) for number in range(3)]

            def work(number: int) -> None:
                try:
                    for turn in range(50):
                        first = np.full((2, 4) if made.batching else (4,), number, np.float32)
                        second = np.full_like(first, turn)
                        expected = (first + second, first - second) if several else (first + second,)
                        sent = (first, second) if several else (first + second,)
                        found = instances[number].execute(dict(zip(inputs, sent, strict=True)), outputs)
                        for name, values in zip(outputs, expected, strict=True):
                            np.testing.assert_array_equal(found[name], values)
                except Exception as error:
                    wrong.append(error)

            threads = [threading.Thread(target=work, args=(number,)) for number in range(len(instances))]
            for one in threads:
                one.start()
            for one in threads:
                one.join(TIMEOUT_S)
            assert not wrong, wrong
            assert not any(one.is_alive() for one in threads)
            for instance in instances:
                instance.close()

    def test_an_instance_is_driven_by_one_thread_after_the_other(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop)
        sent = rows(2) if made.batching else rows(1)[0]
        with workshop.instance(made) as instance, ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
            for _ in range(10):
                for found in (
                    answer(instance, made, sent),
                    one.submit(answer, instance, made, sent).result(TIMEOUT_S),
                    other.submit(answer, instance, made, sent).result(TIMEOUT_S),
                ):
                    np.testing.assert_array_equal(found, sent)

    def test_what_is_bounded_runs_no_code_of_the_model_and_waits_for_nothing(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop)
        sent = rows(2) if made.batching else rows(1)[0]
        with workshop.loaded(made) as model:
            bounded = getattr(model, "bounded", self.backend.capabilities.bounded)
            assert isinstance(bounded, bool)
            if not bounded:
                pytest.skip(f"{self.backend.name} says of this model that it is not bounded")
            instance = instance_of(model)
            answer(instance, made, sent)  # the first execution may do what later ones do not
            called = calls(lambda: answer(instance, made, sent))
            instance.close()
        own = [f"{file}:{name}" for file, name in called if file.startswith(str(workshop.root))]
        assert not own, f"a bounded model runs Python code of its own: {own}"
        waiting = [f"{where}:{name}" for where, name in called if waits(where, name)]
        assert not waiting, f"a bounded model hands work to others, and waits for them: {waiting}"
