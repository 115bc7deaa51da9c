"""A framework's own loop: the model's file run again and again, no server around it, at the sizes that a server formed.

Runs as a process of its own (python -m benchmarks.frameworks.own_loop), with nothing in it but the one framework: the
request comes as JSON on standard input, the answer goes as JSON to standard output. Each run begins with a numpy array
and ends with one, as a server's does.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bare_loop import BareLoopError
from benchmarks.frameworks.plan import Subject

Run = Callable[[Any], object]
Parameters = Mapping[str, str]
Load = Callable[[str, str, Parameters], Run]  # the file, the input's name, what the framework is told


def seconds_per_run(subject: Subject, file: Path, sizes: list[int], budget: float) -> dict[int, float]:
    """Seconds for each batch size, measured in a fresh process for about `budget` seconds in all.

    Raises BareLoopError with what the framework said.
    """
    request = {
        "format": subject.format.name, "file": str(file), "input": subject.net.input.name,
        "dims": subject.net.input.dims, "sizes": sizes, "budget": budget,
        "parameters": dict(subject.format.parameters),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.frameworks.own_loop"],
        input=json.dumps(request), capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    if done.returncode:
        raise BareLoopError(f"the bare loop failed on {file}:\n{done.stderr[-2000:]}")
    return {int(size): value for size, value in json.loads(done.stdout.splitlines()[-1]).items()}


def turns(
    run: Callable[[int], object], sizes: list[int], budget: float, clock: Callable[[], float]
) -> dict[int, float]:
    """Seconds per run of each size. The sizes take turns, so that a disturbance of the machine falls on all of them."""
    for size in sizes:
        run(size)
        run(size)
    spent = dict.fromkeys(sizes, 0.0)
    runs = dict.fromkeys(sizes, 0)
    turn = budget / len(sizes) / 3
    for _ in range(3):
        for size in sizes:
            begun = now = clock()
            while now - begun < turn or now == begun:
                run(size)
                runs[size] += 1
                now = clock()
            spent[size] += now - begun
    return {size: spent[size] / runs[size] for size in sizes}


def _onnx(file: str, name: str, parameters: Parameters) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {name: batch})


def _torch(make: Callable[[Any, str], Any], by_keyword: bool) -> Load:
    def load(file: str, name: str, parameters: Parameters) -> Run:
        import torch

        module = make(torch, file)

        def run(batch: Any) -> object:
            tensor = torch.from_numpy(batch)
            with torch.inference_mode():
                made = module(**{name: tensor}) if by_keyword else module(tensor)
            return [one.numpy() for one in made.values()]

        return run

    return load


def _tensorflow(file: str, name: str, parameters: Parameters) -> Run:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    model = tf.saved_model.load(file)
    function = model.signatures["serving_default"]

    def run(batch: Any, keep: Any = model) -> object:
        return [one.numpy() for one in function(**{name: tf.constant(batch)}).values()]

    return run


def _openvino(file: str, name: str, parameters: Parameters) -> Run:
    import openvino

    request = openvino.Core().compile_model(file, "CPU", dict(parameters)).create_infer_request()
    return lambda batch: request.infer({name: batch}, share_inputs=True)


def _jax(file: str, name: str, parameters: Parameters) -> Run:
    import jax
    import numpy as np
    from jax import export

    function = jax.jit(export.deserialize(bytearray(Path(file).read_bytes())).call)
    return lambda batch: {key: np.asarray(one) for key, one in function({name: batch}).items()}


def _xgboost(file: str, name: str, parameters: Parameters) -> Run:
    import xgboost

    model = xgboost.Booster({"nthread": int(parameters["threads"])}, model_file=file)
    return model.inplace_predict


def _lightgbm(file: str, name: str, parameters: Parameters) -> Run:
    import lightgbm

    model, threads = lightgbm.Booster(model_file=file), int(parameters["threads"])
    return lambda batch: model.predict(batch, num_threads=threads)


LOADERS: dict[str, Load] = {
    "onnx": _onnx,
    "torchscript": _torch(lambda torch, file: torch.jit.load(file).eval(), by_keyword=False),
    "torch_export": _torch(lambda torch, file: torch.export.load(file).module(), by_keyword=True),
    "aotinductor": _torch(lambda torch, file: torch._inductor.aoti_load_package(file), by_keyword=True),  # noqa: SLF001
    "savedmodel": _tensorflow,
    "openvino": _openvino,
    "openvino_f32": _openvino,
    "jax": _jax,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
}


def _measure(request: Mapping[str, Any]) -> dict[int, float]:
    import numpy as np

    run = LOADERS[request["format"]](request["file"], request["input"], request["parameters"])
    random = np.random.default_rng(0)
    batches = {size: random.random((size, *request["dims"]), np.float32) for size in request["sizes"]}
    return turns(lambda size: run(batches[size]), request["sizes"], request["budget"], time.perf_counter)


if __name__ == "__main__":
    print(json.dumps(_measure(json.load(sys.stdin))))
