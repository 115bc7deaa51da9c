"""Serves examples/models, sends real requests, prints the answers, and on a terminal stays up until Ctrl-C.

    scripts/demo                    (or, where Atoll is installed: python examples/demo.py)

Needs scikit-learn for the digits. Arguments are passed on to `atoll serve`.
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
from digits import held_back_digits

MODELS = Path(__file__).parent / "models"
START_TIMEOUT_S = 60
ADDRESS = re.compile(r"Started (\S+).* at (\S+):(\d+)")


def main(arguments: Sequence[str]) -> int:
    command = [sys.executable, "-m", "atoll", "serve", str(MODELS), *LOOPBACK, *arguments]
    print("$ atoll serve examples/models", " ".join([*LOOPBACK, *arguments]), flush=True)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            http = wait_for_address(server, "HTTPService")
            show_answers(f"http://{http}")
            if sys.stdout.isatty():
                print(f"\nServing on http://{http} until Ctrl-C. Try:\n\n  curl -s {http}/v2/models/simple/config\n")
                server.wait()
        except KeyboardInterrupt:
            print()
        finally:
            server.terminate()
        return 0 if server.wait() == 0 else 1


LOOPBACK = ["--http-address=127.0.0.1", "--grpc-address=127.0.0.1"]


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


def show_answers(url: str) -> None:
    version = ask(f"{url}/v2")
    print(f"\n{version['name']} {version['version']} serves:")
    for name in sorted(path.name for path in MODELS.iterdir()):
        model = ask(f"{url}/v2/models/{name}")
        print(f"  {name:<11} {tensors(model['inputs'])} -> {tensors(model['outputs'])}")

    numbers = list(range(16))
    answer = infer(url, "simple", INPUT0=("INT32", [1, 16], numbers), INPUT1=("INT32", [1, 16], [1] * 16))
    print(f"\nsimple: {numbers} + 1 = {answer['OUTPUT0']}")

    answer = infer(url, "greet", NAME=("BYTES", [2, 1], ["Ada", "Grace"]))
    print(f"greet:  {answer['GREETING']}")

    images, labels = held_back_digits()
    print("\nA handwritten digit that no model was trained on:\n")
    print(drawing(images[0]))
    for name, shape in (("digits_cnn", [-1, 1, 8, 8]), ("digits_mlp", [-1, 64])):
        pixels = images.reshape(shape)
        one = infer(url, name, PIXELS=("FP32", list(pixels[:1].shape), pixels[0].ravel().tolist()))
        probabilities = one["PROBABILITIES"]
        best = int(np.argmax(probabilities))
        right = sum(
            correct(infer(url, name, PIXELS=("FP32", list(some.shape), some.ravel().tolist())), expected)
            for some, expected in batches(pixels, labels, 4)
        )
        print(f"{name}: a {best} ({probabilities[best]:.1%} sure; it is a {labels[0]}). ", end="")
        print(f"Of {len(labels)} such digits {right} are right: {right / len(labels):.2%}")


def batches(pixels: Any, labels: Any, size: int) -> Any:
    for start in range(0, len(labels), size):
        yield pixels[start : start + size], labels[start : start + size]


def correct(answer: dict[str, list[Any]], labels: Any) -> int:
    chosen = np.reshape(answer["PROBABILITIES"], (len(labels), 10)).argmax(axis=1)
    return int((chosen == labels).sum())


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
