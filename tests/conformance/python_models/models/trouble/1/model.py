"""Does what INPUT0 says, good or bad, and answers the number of its process."""

import ctypes
import os
import re
import subprocess
import threading
import time

import numpy as np

import triton_python_backend_utils as pb_utils


def loop():
    while True:
        pass


def hold_the_interpreter():
    # Matching keeps the interpreter's lock while it tries 2**60 ways: no other thread of the process runs.
    re.match("(a+)+$", "a" * 60 + "b")


DEEDS = {
    0: lambda: None,
    1: lambda: os._exit(3),
    2: lambda: ctypes.string_at(0),
    3: loop,
    4: hold_the_interpreter,
    5: lambda: np.ones(10_000_000_000, np.uint8),
    6: lambda: [print("trouble", "x" * 1000) for _ in range(20_000)],
    7: lambda: threading.Thread(target=time.sleep, args=(3600,)).start(),
    8: lambda: subprocess.Popen(["sleep", "3600"]),
    9: lambda: time.sleep(1),
}


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        deed = int(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()[0])
        DEEDS[deed]()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.array([os.getpid()]))])
