"""A backend for the tests' server: an identity whose executions wait for as long as a certain file is there.

The file is named in the model's parameters. By making and removing it, a test decides when a request is being executed
and how many wait behind it. A file beside it, `.load`, holds up loading in the same way, and `.loading` says so.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.backends.api import Capabilities, ModelSource, Placement
from atoll.config.autofill import ModelSignature
from atoll.tensor import Array


class GatedInstance:
    """OUTPUT0 = INPUT0, once the gate is open. A file beside the gate, `.entered`, says that an execution is inside."""

    def __init__(self, gate: Path) -> None:
        self._gate = gate

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        entered = self._gate.with_suffix(".entered")
        entered.touch()
        while self._gate.exists():
            time.sleep(0.005)
        entered.unlink(missing_ok=True)
        return {"OUTPUT0": inputs["INPUT0"]}

    def close(self) -> None:
        pass


class GatedModel:
    def __init__(self, gate: Path) -> None:
        self._gate = gate

    def instance(self, placement: Placement) -> GatedInstance:
        return GatedInstance(self._gate)

    def close(self) -> None:
        pass


class GatedBackend:
    name = "gated"
    capabilities = Capabilities(bounded=False)
    default_model_filename = "model.gate"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature | None:
        return None

    def load(self, source: ModelSource) -> GatedModel:
        gate = Path(source.config.parameters["gate"].string_value)
        while gate.with_suffix(".load").exists():
            gate.with_suffix(".loading").touch()
            time.sleep(0.005)
        return GatedModel(gate)
