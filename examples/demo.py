"""Serves the example models in every framework that is installed, sends real requests, and prints the answers.

    scripts/demo                    (or, where Atoll is installed: python examples/demo.py)

Ends with status 1 where a framework answers otherwise than ONNX Runtime does with the same weights. On a terminal it
stays up until Ctrl-C. Needs scikit-learn for the digits. Arguments are passed on to `atoll serve`.
"""

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
from catalogue import OTHERS, REFERENCES, DigitModel, left_out_line
from comparison import disagreements, row, table
from digits import held_back_digits

HERE = Path(__file__).parent
START_TIMEOUT_S = 120  # TensorFlow alone takes seconds to import, and much more from a cold disk
ADDRESS = re.compile(r"Started (\S+).* at (\S+):(\d+)")


def main(arguments: Sequence[str]) -> int:
    others = [model for model in OTHERS if model.installed]
    left_out = [model for model in OTHERS if not model.installed]
    options = [*repositories(others, left_out), *LOOPBACK, *arguments]
    print("$ atoll serve", *options, flush=True)
    if left_out:
        print(left_out_line(left_out), flush=True)
    if others:
        frameworks = {model.framework.partition(",")[0] for model in others}
        print(f"\nLoading ONNX Runtime and {len(frameworks)} more frameworks; that takes some seconds.", flush=True)
    with subprocess.Popen(
        [sys.executable, "-m", "atoll", "serve", *options], stderr=subprocess.PIPE, text=True, cwd=HERE.parent
    ) as server:
        wrong: list[str] = []
        try:
            http = wait_for_address(server, "HTTPService")
            wrong = show_answers(f"http://{http}", [*REFERENCES, *others])
            for line in wrong:
                print(f"error: {line}", file=sys.stderr)
            if sys.stdout.isatty():
                print(f"\nServing on http://{http} until Ctrl-C. Try:\n\n  curl -s {http}/v2/models/simple/config\n")
                server.wait()
        except KeyboardInterrupt:
            print()
        finally:
            server.terminate()
        return 0 if server.wait() == 0 and not wrong else 1


LOOPBACK = ["--http-address=127.0.0.1", "--grpc-address=127.0.0.1"]
ALWAYS = ("simple", "greet", *(model.name for model in REFERENCES))


def repositories(others: Sequence[DigitModel], left_out: Sequence[DigitModel]) -> list[str]:
    """What to serve: all of it, or by name what has its framework here."""
    if not others:
        return ["examples/models"]
    both = ["examples/models", "examples/frameworks"]
    if not left_out:
        return both
    names = [*ALWAYS, *(model.name for model in others)]
    return [*both, "--model-control-mode=explicit", *(f"--load-model={name}" for name in names)]


def wait_for_address(server: subprocess.Popen[str], service: str) -> str:
    """host:port as the server's log names it; the log goes on to standard error. RuntimeError if it ends or hangs."""
    found: Queue[str | None] = Queue()

    def read() -> None:
        for line in server.stderr or ():
            match = ADDRESS.search(line)
            if match and match[1] == service:
                found.put(f"{match[2]}:{match[3]}")
            elif " W" in line[:2] or line.startswith(("E", "error")):
                sys.stderr.write(line)
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        address = found.get(timeout=START_TIMEOUT_S)
    except Empty:
        raise RuntimeError(f"the server did not say within {START_TIMEOUT_S} s that {service} is up") from None
    if address is None:
        raise RuntimeError("the server ended before it was ready; its message stands above")
    return address


def show_answers(url: str, models: Sequence[DigitModel]) -> list[str]:
    """Returns what is wrong with the answers, one line each."""
    version = ask(f"{url}/v2")
    print(f"\n{version['name']} {version['version']} serves:")
    names = ["simple", "greet", *(model.name for model in models)]
    for name in names:
        described = ask(f"{url}/v2/models/{name}")
        print(f"  {name:<{max(map(len, names))}}  {tensors(described['inputs'])} -> {tensors(described['outputs'])}")

    numbers = list(range(16))
    answer = infer(url, "simple", INPUT0=("INT32", [1, 16], numbers), INPUT1=("INT32", [1, 16], [1] * 16))
    print(f"\nsimple: {numbers} + 1 = {answer['OUTPUT0']}")

    answer = infer(url, "greet", NAME=("BYTES", [2, 1], ["Ada", "Grace"]))
    print(f"greet:  {answer['GREETING']}")

    images, labels = held_back_digits()
    print("\nA handwritten digit that no model was trained on:\n")
    print(drawing(images[0]))
    answers = {model.name: probabilities(url, model, images) for model in models}
    first = answers[REFERENCES[0].name][0]
    print(f"\n{REFERENCES[0].name}: a {first.argmax()} ({first.max():.1%} sure; it is a {labels[0]}).")
    print(f"\nAll {len(labels)} such digits, asked of each model:\n")
    rows = [row(model.name, model.framework, model.weights_of, answers, labels) for model in models]
    print(table(rows))
    return disagreements(rows, json.loads((HERE / "accuracy.json").read_text()))


def probabilities(url: str, model: DigitModel, images: Any) -> Any:
    """FP32 [count, 10], asked for in batches of 4."""
    pixels = images.reshape(-1, *model.dims)
    found = []
    for start in range(0, len(pixels), BATCH):
        some = pixels[start : start + BATCH]
        answer = infer(url, model.name, PIXELS=("FP32", list(some.shape), some.ravel().tolist()))
        found.append(np.reshape(answer["PROBABILITIES"], (len(some), 10)).astype(np.float32))
    return np.concatenate(found)


BATCH = 4


def infer(url: str, model: str, **inputs: tuple[str, list[int], list[Any]]) -> dict[str, list[Any]]:
    """The outputs' data by name, as the JSON protocol has them."""
    tensors = [
        {"name": name, "datatype": datatype, "shape": shape, "data": data}
        for name, (datatype, shape, data) in inputs.items()
    ]
    answer = ask(f"{url}/v2/models/{model}/infer", {"inputs": tensors})
    return {output["name"]: output["data"] for output in answer["outputs"]}


def ask(url: str, document: dict[str, Any] | None = None) -> Any:
    body = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(url, body, timeout=30) as response:
        return json.load(response)


def tensors(described: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['name']} {one['datatype']}{one['shape']}" for one in described)


def drawing(image: Any) -> str:
    return "\n".join("    " + "".join(" .:*#"[int(pixel) // 4] * 2 for pixel in row) for row in image)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
