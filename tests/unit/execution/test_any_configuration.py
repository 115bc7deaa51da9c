"""Configurations with anything in what schedulers and batches are made of: each is refused with its keys, or works."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from atoll.config.autofill import normalize
from atoll.config.model_config import (
    BatchInput,
    BatchOutput,
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelOutput,
    ModelParameter,
    ModelQueuePolicy,
    ModelSequenceBatching,
    ModelTensorReshape,
)
from atoll.config.problems import errors_of
from atoll.config.validate import validate_config
from atoll.errors import AtollError, ConfigError
from atoll.execution.batching.batch import join, plan_batches
from atoll.execution.sequences.initial_state import initial_states
from atoll.execution.sequences.tensors import SequenceTensors
from atoll.models.request_validation import request_spec, validate
from atoll.request import InferenceRequest, InferenceResponse
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.scheduler import WaitUntil
from atoll.tensor import DataType, Tensor, element_count

Batching = ModelSequenceBatching
Control = Batching.Control
FOREVER_NS = 1 << 70
SECOND_NS = 1_000_000_000


def mostly(*usual: object) -> st.SearchStrategy[object]:
    return st.sampled_from(usual)


def several(one: st.SearchStrategy[object], most: int = 2) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(one, max_size=most).map(tuple)


NAMES = st.sampled_from(["A", "B", "N", ""])
SIZES = st.sampled_from([1, 2, 4, 0, -1, (1 << 31) - 1])
MICROSECONDS = st.sampled_from([0, 1, 1000, 1 << 63, (1 << 64) - 1])
TYPES = st.sampled_from(list(DataType))
DIMS = st.one_of(
    mostly((1,), (-1,), (2,), (-1, 2)), several(st.sampled_from([-1, 1, 2, 0, -2, 1 << 31, (1 << 63) - 1]), 3)
)
GOOD_CONTROLS = (
    Control(fp32_false_true=(0.0, 1.0)),
    Control(kind=Control.Kind.CONTROL_SEQUENCE_READY, int32_false_true=(0, 1)),
    Control(kind=Control.Kind.CONTROL_SEQUENCE_END, bool_false_true=(False, True)),
    Control(kind=Control.Kind.CONTROL_SEQUENCE_CORRID, data_type=DataType.BYTES),
    Control(kind=Control.Kind.CONTROL_SEQUENCE_CORRID, data_type=DataType.INT32),
)
CONTROLS = st.one_of(
    st.sampled_from(GOOD_CONTROLS),
    st.builds(
        Control,
        kind=st.sampled_from(list(Control.Kind)),
        int32_false_true=mostly((), (0, 1), (0,), ((1 << 31) - 1, -1 << 31)),
        fp32_false_true=mostly((), (float("inf"), float("nan"))),
        data_type=TYPES,
    ),
)
FILES = ("", "data", "../data", "nul\0", "folder", "pipe", "link", "x" * 5000)
ZEROS = st.builds(Batching.InitialState, data_type=st.just(DataType.FP32), dims=DIMS, zero_data=mostly(True, False))
INITIAL = st.builds(
    Batching.InitialState,
    name=mostly("first", ""),
    data_type=mostly(DataType.FP32, DataType.BYTES),
    dims=DIMS,
    zero_data=mostly(None, True),
    data_file=st.sampled_from([None, *FILES]),
)
STATES = st.builds(
    Batching.State,
    input_name=mostly("SI", "S2", "A"),
    output_name=mostly("SO", "S3", "Y"),
    data_type=st.one_of(st.just(DataType.FP32), st.just(DataType.FP32), TYPES),
    dims=DIMS,
    initial_state=several(st.one_of(ZEROS, INITIAL), 1),
    use_same_buffer_for_input_output=st.booleans(),
)
DIRECT = st.builds(
    Batching.StrategyDirect,
    max_queue_delay_microseconds=MICROSECONDS,
    minimum_slot_utilization=mostly(0.0, 0.5, 1.0, 1.5, float("nan")),
)
OLDEST = st.builds(
    Batching.StrategyOldest,
    max_candidate_sequences=SIZES,
    preferred_batch_size=several(SIZES),
    max_queue_delay_microseconds=MICROSECONDS,
    preserve_ordering=st.booleans(),
)
SEQUENCES = st.builds(
    Batching,
    direct=st.one_of(st.none(), DIRECT),
    oldest=st.one_of(st.none(), OLDEST),
    max_sequence_idle_microseconds=MICROSECONDS,
    control_input=several(
        st.builds(Batching.ControlInput, name=mostly("C", "D", "A", ""), control=st.tuples(CONTROLS))
    ),
    state=several(STATES),
    iterative_sequence=st.booleans(),
)
POLICIES = st.builds(
    ModelQueuePolicy,
    timeout_action=st.sampled_from(list(ModelQueuePolicy.TimeoutAction)),
    default_timeout_microseconds=MICROSECONDS,
    allow_timeout_override=st.booleans(),
    max_queue_size=mostly(0, 1, (1 << 32) - 1),
)
LEVELS = st.sampled_from([0, 1, 3, 1 << 63, (1 << 64) - 1])
DYNAMIC = st.builds(
    ModelDynamicBatching,
    preferred_batch_size=several(SIZES),
    max_queue_delay_microseconds=MICROSECONDS,
    preserve_ordering=st.booleans(),
    priority_levels=LEVELS,
    default_priority_level=LEVELS,
    default_queue_policy=st.one_of(st.none(), POLICIES),
    priority_queue_policy=st.dictionaries(LEVELS, POLICIES, max_size=2),
)
RESHAPES = st.one_of(st.none(), st.none(), st.builds(ModelTensorReshape, shape=DIMS))
INPUTS = st.builds(
    ModelInput,
    name=mostly("A", "B"),
    data_type=st.one_of(st.just(DataType.FP32), TYPES),
    dims=DIMS,
    reshape=RESHAPES,
    is_shape_tensor=mostly(False, False, True),
    allow_ragged_batch=mostly(False, True),
    optional=st.booleans(),
)
OUTPUTS = st.builds(ModelOutput, name=mostly("Y", "Z"), data_type=st.just(DataType.FP32), dims=DIMS, reshape=RESHAPES)
BATCH_INPUTS = st.builds(
    BatchInput,
    kind=st.sampled_from(list(BatchInput.Kind)),
    target_name=several(NAMES),
    data_type=mostly(DataType.FP32, DataType.INT32, DataType.BYTES),
    source_input=several(NAMES),
)
BATCH_OUTPUTS = st.builds(BatchOutput, target_name=several(mostly("Y", "Z")), source_input=several(NAMES))
PADDINGS = (
    "{",
    "null",
    "1e999",
    "[" * 100_000,
    '{"inputs":' * 100_000,
    '{"inputs": {"A": {}}}',
    '{"inputs": {"A": {"buckets": [1, 4], "mask": "M", "length": "L"}}, "outputs": {"Y": "A"}}',
    '{"inputs": {"A": {"buckets": [[1], [2]]}, "B": {}}, "outputs": {"Y": ["A", null]}}',
    '{"inputs": {"A": {"value": 1e400, "mask": {"name": "M", "data_type": "TYPE_FP16"}}}}',
    '{"inputs": {"A": {"value": NaN, "length": {"name": "M", "data_type": "TYPE_INT8"}}}}',
    '{"inputs": {"A": {"buckets": [4]}}, "separate_buckets": true}',
    '{"inputs": {"A": {"value": %s}}}' % ("9" * 5000),
)
SCHEDULING: st.SearchStrategy[dict[str, object]] = st.one_of(
    st.fixed_dictionaries({"dynamic_batching": DYNAMIC}),
    st.fixed_dictionaries({"sequence_batching": SEQUENCES}),
    st.just({}),
)
CONTENT = st.fixed_dictionaries(
    {
        "max_batch_size": mostly(4, 1, 0, (1 << 31) - 1, -1),
        "input": several(INPUTS),
        "output": several(OUTPUTS),
    },
    optional={
        "batch_input": several(BATCH_INPUTS, 1),
        "batch_output": several(BATCH_OUTPUTS, 1),
        "parameters": st.sampled_from(PADDINGS).map(lambda text: {"padding": ModelParameter(string_value=text)}),
    },
)


class Nowhere:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with all kinds of things where the files of first states are."""
    made = tmp_path_factory.mktemp("model")
    files = made / "initial_state"
    (files / "folder").mkdir(parents=True)
    os.mkfifo(files / "pipe")
    (files / "data").write_bytes(bytes(8))
    (files / "link").symlink_to("nowhere")
    return made


def request_for(config: ModelConfig, sizes: Sequence[int]) -> InferenceRequest | None:
    """One with these sizes in its variable dimensions; None where a configuration wants too much data for a test."""
    inputs = {}
    left = iter([*sizes, *[1] * 16])
    for one in config.input:
        item = tuple([next(left) if dim < 0 else dim for dim in one.dims])
        shape = (1, *item) if config.max_batch_size and not one.is_shape_tensor else item
        if element_count(shape) > 1000:
            return None
        inputs[one.name] = Tensor(
            one.name, one.data_type, shape, buffer=bytes(element_count(shape) * (one.data_type.size or 4))
        )
    return InferenceRequest("m", inputs, Nowhere())


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=CONTENT,
    scheduling=SCHEDULING,
    sizes=st.lists(st.sampled_from([0, 1, 3, 1 << 40, 1 << 62]), max_size=4),
    timeout_us=MICROSECONDS,
    priority=LEVELS,
)
def test_it_is_refused_with_its_keys_or_it_works(
    folder: Path,
    content: dict[str, object],
    scheduling: dict[str, object],
    sizes: list[int],
    timeout_us: int,
    priority: int,
) -> None:
    config = ModelConfig(name="m", backend="python", **{**content, **scheduling})  # type: ignore[arg-type]
    problems = validate_config(config, "m", files=("model.py",))
    if errors_of(problems):
        assert all(one.path and one.message and len(str(one)) < 2000 for one in problems)
        event("refused")
        return
    config = normalize(config, name="m")
    try:
        initial = initial_states(config, folder)
    except ConfigError as error:
        assert all(one.path for one in getattr(error, "problems", ()))
        event("refused for its first states")
        return
    plan, spec, scheduler = plan_batches(config), request_spec(config), choose_scheduler(config)
    scheduler.seat_added(0)
    tensors = SequenceTensors(config, plan, initial) if config.sequence_batching is not None else None
    request = request_for(config, sizes)
    if request is None:
        return
    request.timeout_us, request.priority = timeout_us, priority
    request.parameters = {"sequence_id": 5, "sequence_start": True}
    request.timeline.queue_start = SECOND_NS
    try:
        validate(request, spec)
        scheduler.enqueue(request, SECOND_NS)
    except AtollError:
        event("a request refused")
        return
    assert not scheduler.expire(SECOND_NS)
    batch = scheduler.next_batch(FOREVER_NS, 0)
    assert not isinstance(batch, WaitUntil)
    late = [one.request for one in scheduler.expire(FOREVER_NS)]
    assert [*(batch or ()), *late] == [request]
    if late:
        event("a request that was late")
        return
    try:
        inputs = join([request], plan)
    except AtollError:
        event("a request that cannot be joined")
        return
    if tensors is not None:
        tensors.make([request], None, inputs)
    assert all(isinstance(one, np.ndarray) for one in inputs.values())
    scheduler.finished([request], 0)
    assert scheduler.pending() == 0
    event("executed")
