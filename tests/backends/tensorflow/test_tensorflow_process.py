"""A server's process with TensorFlow in it: what it says, and what it keeps of models that are gone."""

import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.backends.resident_memory import assert_nothing_stays
from tests.backends.served import Serve
from tests.backends.tensorflow.exported import freeze, save, tf

from atoll.backends.tensorflow.runtime import QUIET

LOG_LINE = re.compile(r"[IWE]\d{4} |[|+]|$")  # the server's own, and its tables


@pytest.mark.parametrize("level", [{}, {QUIET: "3"}], ids=["not set", "set by another backend, or inherited"])
def test_a_bare_saved_model_is_served_and_tensorflow_is_quiet(
    serve: Serve, tmp_path: Path, level: dict[str, str]
) -> None:
    save(tmp_path / "words.savedmodel", lambda s: {"n": tf.strings.to_number(s)}, {"s": ("BYTES", [None, 1])})
    environment = {key: text for key, text in os.environ.items() if key not in (QUIET, "TF_XLA_FLAGS")} | level
    server = serve(tmp_path / "words.savedmodel", env=environment)

    def ask(word: str) -> Any:
        tensor = {"name": "s", "datatype": "BYTES", "shape": [1, 1], "data": [word]}
        return server.post("/v2/models/words/infer", {"inputs": [tensor]})["outputs"][0]["data"]

    assert ask("2.5") == [2.5]
    with pytest.raises(AssertionError, match=r"400: .*could not correctly convert string: many"):
        ask("many")
    assert [line for line in server.log if not LOG_LINE.match(line)] == []
    assert not any("oneDNN" in line or "absl" in line for line in server.log)


def test_a_frozen_graphs_weights_are_freed(served: Any) -> None:
    size = 2048

    def build() -> None:
        x = tf.compat.v1.placeholder(tf.float32, [None, size], name="x")
        tf.matmul(x, tf.constant(np.random.default_rng(0).random((size, size), np.float32)), name="y")

    freeze(served.folder("max_batch_size: 4") / "model.graphdef", build)

    def cycle() -> None:
        served.load()
        served.infer(x=np.ones((1, size), np.float32))
        served.server.unload_model("m")
        while served.server.is_leaving("m"):
            time.sleep(0.01)

    assert_nothing_stays(cycle, size * size * 4)
