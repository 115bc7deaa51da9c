"""That a model which is unloaded leaves nothing behind: no object, thread or file, and no memory that grows."""

import gc
import os
import weakref
from collections.abc import Callable

from atoll.backends.registry import find_backend
from atoll.testing.backend_contract.execution import answer
from atoll.testing.backend_contract.making import Making, rows
from atoll.testing.backend_contract.processes import run_python
from atoll.testing.backend_contract.workshop import Workshop, instance_of

SETTLING = 3  # times after which a framework has made the pools that it keeps for good
CYCLES = 10
LARGE = 4 << 20  # elements of FP32
# glibc keeps large blocks in the arena of whichever thread has freed them, unless it is told from which size on not to
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}

GROWTH = """
import json, sys
from pathlib import Path
from time import sleep
import numpy as np
from atoll import Server

told = json.load(sys.stdin)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def cycle(server, data):
    server.load_model("m")
    response = server.infer("m", {told["input"]: data})
    assert response[told["output"]].nbytes == data.nbytes
    del response
    server.unload_model("m")
    while server.is_leaving("m"):
        sleep(0.01)

with Server(told["repository"], model_control_mode="explicit", backend_config=told["settings"]) as server:
    data = np.ones(told["shape"], np.float32)
    for _ in range(told["settling"]):
        cycle(server, data)
    before = resident()
    for _ in range(told["cycles"]):
        cycle(server, data)
    print(json.dumps({"grown": resident() - before, "size": data.nbytes}))
"""


def _counted(directory: str) -> int:
    return len(os.listdir(directory))


class MemoryContract(Making):
    """What is left of a model that was unloaded."""

    def test_objects_of_a_closed_model_are_gone(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop)
        _, source = workshop.complete(workshop.put(workshop.folder(), "m", made))
        model = find_backend(self.backend.name).load(source)
        instance = instance_of(model)
        sent = rows(2) if made.batching else rows(1)[0]
        answer(instance, made, sent)
        gone: list[Callable[[], object]] = [weakref.ref(one) for one in (model, instance)]
        instance.close()
        model.close()
        del model, instance
        gc.collect()
        assert [one() for one in gone] == [None, None], "something still holds what was closed"

    def test_loading_again_and_again_leaves_no_threads_or_files(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop)
        _, source = workshop.complete(workshop.put(workshop.folder(), "m", made))
        sent = rows(2) if made.batching else rows(1)[0]

        def cycle() -> None:
            model = find_backend(self.backend.name).load(source)
            instance = instance_of(model)
            answer(instance, made, sent)
            instance.close()
            model.close()
            gc.collect()

        for _ in range(SETTLING):
            cycle()
        threads, files = _counted("/proc/self/task"), _counted("/proc/self/fd")
        for _ in range(CYCLES):
            cycle()
        assert _counted("/proc/self/task") < threads + CYCLES, "each load leaves a thread"
        assert _counted("/proc/self/fd") < files + CYCLES, "each load leaves an open file"

    def test_loading_again_and_again_takes_no_more_memory(self, workshop: Workshop) -> None:
        if "batching" not in self.cannot:
            made, shape = self.identity_model(workshop), [LARGE // 4, 4]
        else:
            made, shape = self.identity_model(workshop, dims=(-1,)), [LARGE]
        repository = workshop.folder()
        workshop.put(repository, "m", made, made.config(max_batch_size=LARGE if made.batching else 0))
        told = {
            "repository": str(repository),
            "settings": workshop.backend_config,
            "input": made.inputs[0][0],
            "output": made.outputs[0][0],
            "shape": shape,
            "settling": SETTLING,
            "cycles": CYCLES,
        }
        found = run_python(GROWTH, told, GIVES_BACK)
        # half of what it would be if each cycle left one answer: allocators keep some of what they were given back
        assert found["grown"] < CYCLES * found["size"] // 2, f"{CYCLES} loads leave {found['grown']} bytes behind"
