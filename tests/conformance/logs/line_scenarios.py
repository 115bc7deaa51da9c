"""Servers with different formats of the log, what their models say, and the lines that this makes."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.model_folders import write_model as write_model_folder
from tests.conformance.process import ServerProcess, wait_until
from tests.conformance.questions import ask

TEXTS: Mapping[str, str] = {
    "plain": "hello world",
    "empty": "",
    "quotes": "say \"it\" and 'that' \\ /",
    "lines": "one\ntwo\r\nthree",
    "forged": 'x"\nE1121 01:44:47.123456 4711 server.cc:12] "all is lost',
    "controls": "".join(map(chr, range(1, 32))),
    "terminal": "\x1b[31mred\x1b[0m\b\f\v",
    "beyond ASCII": "é ☃ \U0001f600",
    "id": "[request id: somebody] else",
}
LEVELS = {"info": "I", "warn": "W", "error": "E", "verbose": "I"}
MODEL = f"""
import triton_python_backend_utils as pb

TEXTS = {dict(TEXTS)!r}

class TritonPythonModel:
    def execute(self, requests):
        pb.Logger.log_info("begin of what is said")
        for name, text in TEXTS.items():
            pb.Logger.log_info(text)
        for level in {tuple(LEVELS)!r}:
            getattr(pb.Logger, "log_" + level)("at " + level)
        pb.Logger.log_info("end of what is said")
        return [pb.InferenceResponse([pb.Tensor("OUT", pb.get_input_tensor_by_name(one, "IN").as_numpy())])
                for one in requests]
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [1] }]
"""


@dataclass(frozen=True)
class Scenario:
    """A server's arguments, and what is in its environment."""

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


ESCAPE = "TRITON_SERVER_ESCAPE_LOG_MESSAGES"
SCENARIOS: Mapping[str, Scenario] = {
    "default": Scenario(),
    "ISO8601": Scenario(("--log-format=ISO8601",)),
    "verbose": Scenario(("--log-verbose=1",)),
    "no info": Scenario(("--log-info=false",)),
    "errors only": Scenario(("--log-info=false", "--log-warning=false")),
    "not escaped": Scenario((), {ESCAPE: "0"}),
    "escaped: FALSE": Scenario((), {ESCAPE: "FALSE"}),
}
Start = Callable[..., ServerProcess]
_BEGIN, _END = "begin of what is said", "end of what is said"
_HEADS = {
    "default": re.compile(r"([IWE])\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ model\.py:(\d+)\] ", re.MULTILINE),
    "ISO8601": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ([IWE]) \d+ model\.py:(\d+)\] ", re.MULTILINE),
}


def write_model(folder: Path) -> Path:
    """The repository."""
    write_model_folder(folder, "speaker", CONFIG, MODEL)
    return folder


def lines_of(start: Start, scenario: Scenario, folder: Path) -> list[list[Any]]:
    """Severity, line number in model.py, and text, of what the model says in one execution without a request's id.

    Where the format is none of the heads that are known there are no lines: that is what is to be noticed.
    """
    environment = {**os.environ, **scenario.environment}
    models = write_model(folder / "models")
    log = folder / "console"
    with start(models, log, *scenario.arguments, environment=environment) as server:
        question = ask("", {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1], "data": [1]}]})
        answer = server.exchange("POST", "/v2/models/speaker/infer", body=question.body)
        assert answer.status == 200, answer
        last = "at error"
        wait_until(lambda: last in log.read_text(), "lines", server)
        server.terminate()
        server.wait()
        text = log.read_text()
    head = _HEADS["ISO8601" if "--log-format=ISO8601" in scenario.arguments else "default"]
    found = list(head.finditer(text))
    said = []
    for match, after in zip(found, [*found[1:], None], strict=True):
        rest = text[match.end() : after.start() if after is not None else len(text)]
        said.append([match[1], int(match[2]), rest])
    begin = next((at for at, one in enumerate(said) if _BEGIN in one[2]), 0)
    end = next((at for at, one in enumerate(said) if _END in one[2]), len(said) - 1)
    lines = said[begin : end + 1]
    last_text = lines[-1][2]
    other = re.search(r"\n(?=[IWE]\d{4} |\d{4}-\d\d-|Signal )", last_text)  # what others than the model said after it
    lines[-1][2] = last_text[: other.end()] if other else last_text
    return lines
