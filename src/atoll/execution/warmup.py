"""Warmup: made-up requests that every instance executes before its model is ready.

Which samples there are, and with what data, follows the configuration's `model_warmup` as the real server reads it:
`batch_size` requests of one item each run as one batch, `count` times over (0: once), all with the same data. Samples
of a sequence model may give control inputs and states, too. (The real server leaves out those that a sample does not
give; here they are those of a sequence of one request.)
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns

import numpy as np

from atoll.config.model_config import ModelConfig, ModelWarmup
from atoll.config.problems import Problem, config_error, suggestion
from atoll.config.sequence_inputs import sequence_input_types
from atoll.errors import AtollError, ConfigError
from atoll.execution.model_file import read_model_file
from atoll.request import QUEUED, InferenceRequest, InferenceResponse
from atoll.tensor import Array, Buffer, DataType, Tensor, element_count

logger = logging.getLogger(__name__)

MAX_SAMPLE_BYTES = 4 << 30  # of one batch, all its inputs together
MAX_DATA_BYTES = 4 << 30  # of all the data that a model's samples hold
MAX_BATCH_SIZE = 1 << 16  # requests of one batch, where a model allows more
SEED = 0  # the same model warms up with the same data each time, so that what fails, fails again

Check = Callable[[InferenceRequest], None]


@dataclass(frozen=True, slots=True)
class WarmupSample:
    """One entry of `model_warmup`: `inputs` of a single item, with the batch dimension where the model has one."""

    name: str
    path: str
    batch_size: int
    count: int
    inputs: Mapping[str, Tensor]

    def requests(self, model_name: str) -> "tuple[list[InferenceRequest], WarmupAnswers]":
        """The requests of one batch, as if a scheduler had queued them, and where they are answered."""
        answers = WarmupAnswers()
        requests = [InferenceRequest(model_name, dict(self.inputs), answers) for _ in range(self.batch_size)]
        now_ns = monotonic_ns()
        for request in requests:
            request.timeline.request_start = request.timeline.queue_start = now_ns
            request.move(QUEUED)
        return requests, answers


class WarmupAnswers:
    """Keeps the errors with which requests were answered, and nothing else."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """As `ResponseSender.send`."""
        if response is not None and response.error is not None and str(response.error) not in self.errors:
            self.errors.append(str(response.error))


def warmup_failure(sample: WarmupSample, errors: list[str]) -> ConfigError:
    """That a sample did not run, in the real server's words."""
    message = f"failed to run warmup sample '{sample.name}': {'; '.join(errors)}"
    return ConfigError(message, [Problem(sample.path, message, "", "", "")])


def warmup_samples(config: ModelConfig, model_directory: Path, check: Check | None = None) -> list[WarmupSample]:
    """The samples of a complete configuration, their data made or read from the folder `warmup` of the model.

    `check` raises for a request that does not fit the model (models/request_validation.py). Raises ConfigError with
    everything that is wrong, each with its key.
    """
    samples: list[WarmupSample] = []
    problems: list[Problem] = []
    sequence_inputs = sequence_input_types(config)
    data = _Data(model_directory / "warmup")
    for index, one in enumerate(config.model_warmup):
        path = f"model_warmup[{index}]"
        if one.batch_size <= 0:
            logger.warning("warmup sample '%s' of model '%s' has batch_size 0 and is skipped", one.name, config.name)
            continue
        found = _batch_size_problems(one, path, config)
        inputs = _inputs(one, path, config, data, found) if not found else {}
        if not found and check is not None:
            try:
                sent = {name: tensor for name, tensor in inputs.items() if name not in sequence_inputs}
                check(InferenceRequest(config.name, sent, WarmupAnswers()))
            except AtollError as error:
                found.append(Problem(f"{path}.inputs", str(error), *_unknown_inputs(one, config)))
        problems += found
        samples.append(WarmupSample(one.name, path, one.batch_size, max(one.count, 1), inputs))
    if problems:
        raise config_error(problems, f"model '{config.name}'")
    return samples


def _unknown_inputs(sample: ModelWarmup, config: ModelConfig) -> tuple[str, str, str]:
    """What was found, what is expected and what to do about a sample that is no request to the model."""
    known = [one.name for one in config.input]
    unknown = [name for name in sample.inputs if name not in known]
    if not unknown:
        return "", "", "Correct this entry of model_warmup."
    near = suggestion(unknown[0], [name for name in known if name not in sample.inputs])
    remedy = f"Did you mean '{near}'?" if near else "Give the inputs the model's names."
    return _quoted(unknown), f"the model's inputs: {_quoted(known)}", remedy


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _inputs(
    sample: ModelWarmup, path: str, config: ModelConfig, data: "_Data", problems: list[Problem]
) -> dict[str, Tensor]:
    sequence_inputs = sequence_input_types(config)
    known = {one.name for one in config.input} | sequence_inputs.keys()
    inputs: dict[str, Tensor] = {}
    left = MAX_SAMPLE_BYTES // sample.batch_size
    for name, one in sample.inputs.items():
        key = f"{path}.inputs[{name}]"
        if name not in known:
            logger.warning("model '%s': %s is not an input of the model and is left out", config.name, key)
            continue
        if sequence_inputs.get(name, one.data_type) is not one.data_type:
            expected = sequence_inputs[name].config_name
            message = f"warmup setting gives the sequence's tensor '{name}' as {one.data_type.config_name}"
            problems.append(Problem(f"{key}.data_type", message, one.data_type.config_name, expected, "Correct it."))
            continue
        if any(dim < 0 for dim in one.dims):
            message = f"warmup setting expects all variable-size dimensions are specified for input '{name}'"
            problems.append(
                Problem(f"{key}.dims", message, str(list(one.dims)), "sizes from 0", "Write a size for each.")
            )
            continue
        byte_size = element_count(one.dims) * (one.data_type.size or 4)
        left -= byte_size
        if left < 0:
            message = f"warmup sample '{sample.name}' is too large with its input '{name}' of {byte_size} bytes"
            limit = f"at most {MAX_SAMPLE_BYTES} bytes in all of a batch of {sample.batch_size}"
            problems.append(Problem(f"{key}.dims", message, "", limit, "Use smaller dims or a smaller batch_size."))
            continue
        try:
            buffer = data.of(name, one, byte_size)
        except ConfigError as error:
            problems.append(Problem(key, str(error), "", "", "Correct this entry of model_warmup."))
            continue
        shape = (1, *one.dims) if config.max_batch_size > 0 else one.dims
        inputs[name] = Tensor(name, one.data_type, shape, buffer=buffer)
    return inputs


def _batch_size_problems(sample: ModelWarmup, path: str, config: ModelConfig) -> list[Problem]:
    limit = min(max(config.max_batch_size, 1), MAX_BATCH_SIZE)
    if sample.batch_size <= limit:
        return []
    # The real server's backends say this when an instance runs the sample.
    instance = f"{config.instance_group[0].name}_0" if config.instance_group else config.name
    message = (
        f"failed to run warmup sample '{sample.name}': batch size {sample.batch_size} for '{instance}', "
        f"max allowed is {config.max_batch_size}"
    )
    return [
        Problem(
            f"{path}.batch_size", message, str(sample.batch_size), f"1 to {limit}", "Lower it, or raise max_batch_size."
        )
    ]


class _Data:
    """Makes the data of inputs, in the wire form. All zeros, and all random bytes, are one piece of memory each."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._left = MAX_DATA_BYTES
        self._zeros = memoryview(b"")
        self._random = memoryview(b"")
        self._bools = memoryview(b"")

    def of(self, name: str, one: ModelWarmup.Input, byte_size: int) -> Buffer:
        """The data of one input. Raises ConfigError."""
        if one.input_data_file is not None:
            return self._file(one.input_data_file, one.data_type, byte_size)
        if one.zero_data is not None or (one.random_data is not None and one.data_type is DataType.BYTES):
            if len(self._zeros) < byte_size:
                self._zeros = np.zeros(byte_size, np.uint8).data  # not resident, however many there are
            return self._zeros[:byte_size]  # as BYTES: that many empty elements
        if one.random_data is None:
            raise ConfigError(
                f"[request id: <id_unknown>] warmup setting expects input '{name}' to have input_data_type set; "
                "give one of zero_data, random_data and input_data_file"
            )
        if one.data_type is DataType.BOOL:
            if len(self._bools) < byte_size:
                self._bools = (self._random_bytes(byte_size) & 1).data  # other bytes are no bools
            return self._bools[:byte_size]
        if len(self._random) < byte_size:
            self._random = self._random_bytes(byte_size).data
        return self._random[:byte_size]

    def _random_bytes(self, byte_size: int) -> Array:
        self._charge(byte_size)
        return np.random.default_rng(SEED).integers(0, 256, byte_size, np.uint8)

    def _file(self, name: str, datatype: DataType, byte_size: int) -> bytes:
        count = -1 if datatype is DataType.BYTES else byte_size
        data = read_model_file(self._directory, name, MAX_DATA_BYTES, count)
        self._charge(len(data))
        if len(data) < count:
            raise ConfigError(
                f"[request id: <id_unknown>] warmup setting expects {count} bytes, but the data provided from {name}"
                f"only has {len(data)} bytes; the file holds the elements of one item, little-endian"
            )
        return data

    def _charge(self, byte_size: int) -> None:
        self._left -= byte_size
        if self._left < 0:
            raise ConfigError(f"the data of the warmup samples is too large: more than {MAX_DATA_BYTES} bytes in all")
