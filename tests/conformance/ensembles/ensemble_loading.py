"""What is asked about loading ensembles, and the changes to the repository in between, in an order that matters."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conformance.ensembles.ensemble_repository import (
    FAIL,
    GOOD,
    one,
    two,
    write_broken,
    write_ensemble,
    write_good,
    write_step,
    write_steps,
)
from tests.conformance.process import ServerProcess
from tests.conformance.record import as_record

EXPLICIT = "--model-control-mode=explicit"
_SETTLED_S = 30.0
_POLL_FAILED = re.compile(r"Poll failed for model directory '(\w+)': (.*?)\"?$", re.MULTILINE)


def write_all(root: Path) -> tuple[Path, list[str]]:
    """Everything; the names of those that cannot be loaded."""
    write_steps(root)
    write_good(root)
    return root, write_broken(root)


def write_few(root: Path) -> Path:
    """What the moves are made with."""
    for name in ("a", "b"):
        write_step(root, name)
    write_ensemble(root, "chain", two("a", "b"))
    write_ensemble(root, "other", one("a"))
    write_ensemble(root, "nested", two("chain", "a"))
    return root


def load(server: ServerProcess, name: str, *, parameters: dict[str, Any] | None = None) -> tuple[int, str]:
    """Status and error text."""
    return _told(server, f"/v2/repository/models/{name}/load", parameters)


def unload(server: ServerProcess, name: str, *, dependents: bool = False) -> tuple[int, str]:
    """The same; returns when it is gone."""
    told = _told(server, f"/v2/repository/models/{name}/unload", {"unload_dependents": True} if dependents else None)
    deadline = time.monotonic() + _SETTLED_S
    while "UNLOADING" in server.exchange("POST", "/v2/repository/index").body.decode():
        assert time.monotonic() < deadline, "a model is not freed"
        time.sleep(0.02)
    return told


def _told(server: ServerProcess, path: str, parameters: dict[str, Any] | None) -> tuple[int, str]:
    body = json.dumps({"parameters": parameters}).encode() if parameters else None
    answer = server.exchange("POST", path, body=body)
    return answer.status, json.loads(answer.body)["error"] if answer.body else ""


def reasons(server: ServerProcess, names: list[str]) -> dict[str, str]:
    """Why each of these cannot be loaded. What the real server keeps to itself is in its log."""
    found = {}
    for name in names:
        status, text = load(server, name)
        assert status != 200, name
        found[name] = text
    told = dict(_POLL_FAILED.findall(server.log_text()))
    return {
        name: told.get(name, text.removeprefix(f"load failed for model '{name}': ")) for name, text in found.items()
    }


def core(reason: str) -> str:
    """Without what is a Python model's traceback, a path, and the end."""
    return re.split(r"\n|\\n|/\S*/", reason)[0].strip().rstrip(";")


def documents(server: ServerProcess) -> dict[str, Any]:
    """What is said of each good ensemble."""
    found = {}
    for name in GOOD:
        status, text = load(server, name)
        assert status == 200, text
        for suffix in ("", "/config", "/stats", "/ready"):
            found[f"{name}{suffix}"] = as_record(server.exchange("GET", f"/v2/models/{name}{suffix}"))
    return found


LABELLED = ("of_labelled", "of_of_labelled", "own_labels")


def classes(server: ServerProcess, name: str) -> list[str]:
    """The two highest of 1, 3 and 2, with their labels."""
    question = {
        "inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 3], "data": [1, 3, 2]}],
        "outputs": [{"name": "OUT", "parameters": {"classification": 2}}],
    }
    answer = server.exchange("POST", f"/v2/models/{name}/infer", body=json.dumps(question).encode())
    found: list[str] = answer.json()["outputs"][0]["data"]
    return found


Move = Callable[[ServerProcess, Path], tuple[int, str]]


def moves() -> list[tuple[str, Move]]:
    """Loads, unloads and changes, after each of which the server is asked what is served."""

    def loading(name: str) -> tuple[str, Move]:
        return f"load {name}", lambda server, root: load(server, name)

    def unloading(name: str, dependents: bool = False) -> tuple[str, Move]:
        title = f"unload {name}" + (" with dependents" if dependents else "")
        return title, lambda server, root: unload(server, name, dependents=dependents)

    def changed(title: str, change: Callable[[Path], None], name: str = "a") -> tuple[str, Move]:
        def move(server: ServerProcess, root: Path) -> tuple[int, str]:
            change(root)
            return load(server, name)

        return f"{title}: load {name}", move

    return [
        loading("chain"),
        unloading("chain", dependents=True),
        loading("chain"),
        unloading("chain"),
        loading("other"),
        loading("chain"),
        unloading("chain", dependents=True),  # a stays for the other
        unloading("other", dependents=True),
        loading("a"),
        loading("chain"),
        unloading("chain", dependents=True),  # a stays, as somebody asked for it
        unloading("a"),
        loading("nested"),
        unloading("nested", dependents=True),
        loading("nested"),
        unloading("a"),  # all that need it go
        loading("a"),  # and come back
        unloading("b"),
        unloading("nested"),
        loading("b"),
        unloading("chain", dependents=True),
        loading("nested"),
        changed("as it was", lambda root: write_step(root, "a")),
        changed("with another input", lambda root: write_step(root, "a", (("INZ", "FP32", (-1,)),))),
        loading("chain"),
        changed("mended", lambda root: write_step(root, "a")),
        changed("failing", lambda root: write_step(root, "a", more=FAIL)),
        changed("mended again", lambda root: write_step(root, "a")),
        changed("of smaller batches", lambda root: write_step(root, "a", size=4)),
        changed("smaller ensembles", lambda root: write_ensemble(root, "chain", two("a", "b"), size=4), "chain"),
        loading("other"),
        changed("larger again", lambda root: write_step(root, "a")),
    ]


def make_moves(server: ServerProcess, root: Path) -> dict[str, Any]:
    """After each move: how it ended, and what is served."""
    found: dict[str, Any] = {}
    for number, (title, move) in enumerate(moves(), 1):
        status, text = move(server, root)
        index = server.exchange("POST", "/v2/repository/index", body=b'{"ready":true}').json()
        served = sorted(one["name"] for one in index)
        found[f"{number} {title}"] = {"status": status, "reason": core(text), "served": served}
    return found
