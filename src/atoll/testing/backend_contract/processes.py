"""What is asked of other processes: whether a server without models, or with isolated ones, stays without the heavy
library, and whether isolated models answer as those in the server do.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from atoll.testing.backend_contract.making import Making, rows
from atoll.testing.backend_contract.workshop import Workshop

TIMEOUT_S = 300.0  # importing a framework takes seconds, on a machine that has other work

CONSTRUCTOR = """
import importlib, json, sys

told = json.load(sys.stdin)
module, name = told["class"]
getattr(importlib.import_module(module), name)()
print(json.dumps([one for one in told["heavy"] if one in sys.modules]))
"""

ISOLATED = """
import json, sys
import numpy as np
from atoll import Server

told = json.load(sys.stdin)
with Server(told["repository"], backend_config=told["settings"]) as server:
    inputs = {name: np.array(values, np.float32) for name, values in told["inputs"].items()}
    response = server.infer("m", inputs)
    config = server.model("m").config
    print(json.dumps({
        "outputs": {one.name: one.array().tolist() for one in response.outputs},
        "tensors": sorted(one.name for one in (*config.input, *config.output)),
        "heavy": [one for one in told["heavy"] if one in sys.modules],
    }))
"""

MISSING = """
import json, sys
from atoll import Server

told = json.load(sys.stdin)
sys.modules.update(dict.fromkeys(told["heavy"]))  # an import of one fails from now on
with Server(told["repository"], backend_config=told["settings"], exit_on_error=False) as server:
    print(json.dumps({name: str(error) for name, error in server.failures().items()}))
"""


def run_python(program: str, told: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Any:
    """What the program, which reads JSON, prints as the last line, in JSON. `environment` comes on top of ours."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(told),
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # libraries print what they will
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


class ProcessContract(Making):
    """The backend in processes of its own."""

    def test_nothing_heavy_is_imported_before_a_model_needs_it(self) -> None:
        where = [self.backend.__module__, self.backend.__name__]
        heavy = run_python(CONSTRUCTOR, {"class": where, "heavy": self.runtime_modules})
        assert heavy == [], f"the module or the constructor of {where} imports {heavy}"

    def test_a_library_that_is_not_installed_is_named(self, workshop: Workshop) -> None:
        if not self.runtime_modules:
            pytest.skip(f"{self.backend.name} names no runtime_modules")
        repository = workshop.folder()
        workshop.put(repository, "m", self.identity_model(workshop))
        told = {
            "repository": str(repository),
            "settings": workshop.backend_config,
            "heavy": self.runtime_modules,
        }
        failures = run_python(MISSING, told)
        assert "pip install" in failures["m"], failures

    def test_an_isolated_model_answers_and_the_server_stays_light(self, workshop: Workshop) -> None:
        self.needs("isolation")
        made = self.identity_model(workshop)
        repository = workshop.folder()
        isolated = 'parameters: {key: "isolation" value: {string_value: "process"}}'
        alone = "instance_group [{kind: KIND_CPU, count: 1}]"
        says_all = self.cannot.keys().isdisjoint(("names", "types", "shapes"))
        text = f"{made.extra}\n{isolated}\n{alone}" if says_all else made.config(more=f"{isolated}\n{alone}")
        workshop.put(repository, "m", made, text)
        sent = rows(2) if made.batching else rows(1)[0]
        found = run_python(
            ISOLATED,
            {
                "repository": str(repository),
                "settings": workshop.backend_config,
                "inputs": {made.inputs[0][0]: sent.tolist()},
                "heavy": self.runtime_modules,
            },
        )
        np.testing.assert_array_equal(found["outputs"][made.outputs[0][0]], sent)
        assert found["tensors"] == sorted([made.inputs[0][0], made.outputs[0][0]])
        assert found["heavy"] == [], f"the server itself imports {found['heavy']}"
