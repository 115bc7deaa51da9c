"""The backend "arithmetic": its models are JSON files that say which numpy function makes each output."""

import json

import numpy as np

from atoll.backends.api import Capabilities
from atoll.backends.model_kind import wrong_kind
from atoll.backends.model_path import model_path
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError
from atoll.tensor import BY_PROTOCOL_NAME

FUNCTIONS = {"copy": np.copy, "add": np.add, "subtract": np.subtract}


def read(source):
    path = model_path(source, ArithmeticBackend.default_model_filename)
    try:
        file = json.loads(path.read_bytes())
        kind = {"data_type": BY_PROTOCOL_NAME[file["datatype"]], "shape": tuple(file["shape"])}
        inputs, outputs = [
            tuple(TensorSignature(name=one, **kind) for one in file[side]) for side in ("inputs", "outputs")
        ]
        steps = {name: (FUNCTIONS[function], names) for name, (function, *names) in file["outputs"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"cannot read '{path}': {reason}{wrong_kind(path, ArithmeticBackend.name)}") from error
    return ModelSignature(inputs=inputs, outputs=outputs), steps


class ArithmeticBackend:
    name = "arithmetic"
    capabilities = Capabilities(bounded=True)
    default_model_filename = "model.arithmetic"
    default_instance_count = 1

    def signature(self, source):
        return read(source)[0]

    def load(self, source):
        return ArithmeticModel(read(source)[1])


class ArithmeticModel:
    def __init__(self, steps):
        self.steps = steps

    def instance(self, placement):
        return ArithmeticInstance(self.steps)

    def close(self):
        del self.steps


class ArithmeticInstance(ArithmeticModel):
    def execute(self, inputs, output_names):
        wanted = {name: self.steps[name] for name in output_names}
        return {name: function(*[inputs[one] for one in names]) for name, (function, names) in wanted.items()}
