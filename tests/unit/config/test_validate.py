"""Each rule of validation, with the real server's words, and many problems at once."""

import pytest

from atoll.config.problems import Problem, config_error, errors_of
from atoll.config.textproto import read_config_text
from atoll.config.validate import validate_config

IO = """
input [{ name: "I" data_type: TYPE_FP32 dims: [4] }]
output [{ name: "O" data_type: TYPE_FP32 dims: [4] }]
"""
PYTHON = 'backend: "python" ' + IO
BATCHED = PYTHON + "max_batch_size: 4 "
ENSEMBLE = 'platform: "ensemble" ' + IO
STEP = (
    'step [{ model_name: "a" model_version: -1 input_map { key: "X" value: "I" } output_map { key: "Y" value: "O" } }]'
)


def problems(text: str, **options: object) -> list[Problem]:
    return validate_config(read_config_text(text, "m/config.pbtxt"), "m", **options)  # type: ignore[arg-type]


def tensors(inputs: str = 'name: "I" data_type: TYPE_FP32 dims: [4]', outputs: str = "", rest: str = "") -> str:
    outputs = outputs or 'name: "O" data_type: TYPE_FP32 dims: [4]'
    return f'backend: "python" input [{{ {inputs} }}] output [{{ {outputs} }}] {rest}'


def sequence(text: str) -> str:
    return BATCHED + f"sequence_batching {{ {text} }}"


def control(text: str) -> str:
    return sequence(f'control_input [{{ name: "C" control [{{ {text} }}] }}]')


@pytest.mark.parametrize(
    "text",
    [
        PYTHON,
        BATCHED + "dynamic_batching { preferred_batch_size: [2, 4] }",
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [4] reshape { shape: [2, 2] }'),
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [-1, 4] reshape { shape: [-1, 2, 2] }'),
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [1] reshape { shape: [] }', rest="max_batch_size: 2"),
        ENSEMBLE + f"ensemble_scheduling {{ {STEP} }}",
        'platform: "pytorch"' + IO,
        'platform: "anything" backend: "python"' + IO,
        BATCHED + "instance_group [{ count: 2 }, { kind: KIND_GPU gpus: [0] }]",
        control("kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64"),
        control("kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1]"),
    ],
)
def test_nothing_to_say(text: str) -> None:
    assert problems(text) == []


# Each message was seen in an answer or the log of the real server 2.51 for this configuration of a model 'm'.
CASES = [
    (
        'name: "other" ' + PYTHON,
        "name",
        "unexpected directory name 'm' for model 'other', directory name must equal model name",
    ),
    (IO, "backend", "Could not determine backend for model 'm' with no backend in model configuration"),
    ('platform: "nope" ' + IO, "platform", "unexpected platform type 'nope' for m"),
    (PYTHON + "max_batch_size: -1", "max_batch_size", "'max_batch_size' must be non-negative value for m"),
    (tensors(inputs="data_type: TYPE_FP32 dims: [4]"), "input[0].name", "model input must specify 'name' for m"),
    (tensors(outputs="data_type: TYPE_FP32 dims: [4]"), "output[0].name", "model output must specify 'name' for m"),
    (tensors(inputs='name: "I" dims: [4]'), "input[0].data_type", "model input 'I' must specify 'data_type' for m"),
    (tensors(inputs='name: "I" data_type: TYPE_FP32'), "input[0].dims", "model input 'I' must specify 'dims' for m"),
    (
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [4, 0]'),
        "input[0].dims[1]",
        "model input 'I' dimension must be integer >= 1, or -1 to indicate a variable-size dimension for m",
    ),
    (
        tensors(outputs='name: "O" data_type: TYPE_FP32 dims: [-2]'),
        "output[0].dims[0]",
        "model output 'O' dimension must be integer >= 1, or -1 to indicate a variable-size dimension for m",
    ),
    (
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [4] format: FORMAT_NHWC'),
        "input[0].format",
        "model input NHWC/NCHW require 3 dims for m",
    ),
    (
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [4] is_shape_tensor: true'),
        "input[0].is_shape_tensor",
        "shape tensors are only supported for TensorRT platform for m",
    ),
    (
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [4] reshape { shape: [3] }'),
        "input[0].reshape.shape",
        "model input 'I' has different size for dims and reshape for m",
    ),
    (
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [-1, 2] reshape { shape: [2, -1] }'),
        "input[0].reshape.shape",
        "model input 'I' has different size for dims and reshape for m",
    ),
    (
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [-1] reshape { shape: [4] }'),
        "input[0].reshape.shape",
        "model input 'I' has different size for dims and reshape for m",
    ),
    (
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [-1, -1] reshape { shape: [-1] }'),
        "input[0].reshape.shape",
        "model input 'I' has different number of variable-size dimensions for dims and reshape for m",
    ),
    (
        tensors(inputs='name: "I" data_type: TYPE_FP32 dims: [4] reshape { shape: [0] }'),
        "input[0].reshape.shape",
        "model input 'I' reshape dimensions must be integer >= 1, or -1 to indicate a variable-size dimension for m",
    ),
    (
        BATCHED + "dynamic_batching { preferred_batch_size: [0] }",
        "dynamic_batching.preferred_batch_size[0]",
        "dynamic batching preferred size must be positive for m",
    ),
    (
        BATCHED + "dynamic_batching { preferred_batch_size: [2, 8] }",
        "dynamic_batching.preferred_batch_size[1]",
        "dynamic batching preferred size must be <= max batch size for m",
    ),
    (
        BATCHED + "dynamic_batching { priority_levels: 2 }",
        "dynamic_batching.default_priority_level",
        "default priority level must be in range [1, 2] for m",
    ),
    (
        BATCHED
        + "dynamic_batching { priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value {} } }",
        "dynamic_batching.priority_queue_policy[3]",
        "priority queue policy must have priority level in range [1, 2] for m",
    ),
    (
        BATCHED + "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
        "dynamic_batching.preserve_ordering",
        "Only one priority level is allowed when 'preserve_ordering' is true for m",
    ),
    (
        PYTHON + "instance_group [{ kind: KIND_CPU gpus: [0] }]",
        "instance_group[0].gpus",
        "instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs",
    ),
    (
        PYTHON + "instance_group [{ kind: KIND_MODEL gpus: [0] }]",
        "instance_group[0].gpus",
        "instance group m_0 of model m has kind KIND_MODEL but specifies one or more GPUs",
    ),
    (
        PYTHON + 'instance_group [{ profile: ["p"] }]',
        "instance_group[0].profile",
        "specifies profile field which is only supported for TensorRT models",
    ),
    (
        PYTHON + "version_policy { specific {} }",
        "version_policy.specific.versions",
        "at least one version must be available under the version policy of model 'm'",
    ),
    (
        PYTHON + "version_policy { latest {} }",
        "version_policy.latest.num_versions",
        "at least one version must be available under the version policy of model 'm'",
    ),
    (
        PYTHON + "model_transaction_policy { decoupled: true } response_cache { enable: true }",
        "response_cache.enable",
        "Response Cache does not currently support model m with 'decoupled' transaction policy.",
    ),
    (
        control("kind: CONTROL_SEQUENCE_START"),
        "sequence_batching.control_input[0].control[0]",
        "sequence batching must specify either 'int32_false_true', 'fp32_false_true' or 'bool_false_true' "
        "for CONTROL_SEQUENCE_START for m",
    ),
    (
        control("kind: CONTROL_SEQUENCE_START int32_false_true: [0]"),
        "sequence_batching.control_input[0].control[0].int32_false_true",
        "sequence batching control 'int32_false_true' must have exactly 2 entries for CONTROL_SEQUENCE_START for m",
    ),
    (
        control("kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] fp32_false_true: [0, 1]"),
        "sequence_batching.control_input[0].control[0]",
        "sequence batching specifies more than one from 'int32_false_true', 'fp32_false_true' and 'bool_false_true' "
        "for CONTROL_SEQUENCE_START for m",
    ),
    (
        control("kind: CONTROL_SEQUENCE_CORRID"),
        "sequence_batching.control_input[0].control[0].data_type",
        "unexpected data type for control CONTROL_SEQUENCE_CORRID for m. Allowed data types are TYPE_UINT64, "
        "TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING",
    ),
    (
        sequence("control_input [{}]"),
        "sequence_batching.control_input[0].name",
        "sequence batching control tensor must have a name for m",
    ),
    (
        sequence("direct { minimum_slot_utilization: 2 }"),
        "sequence_batching.direct.minimum_slot_utilization",
        "sequence batching minimum slot utilization must be in range (0.0, 1.0] for m",
    ),
    (
        sequence("oldest { preferred_batch_size: [9] }"),
        "sequence_batching.oldest.preferred_batch_size[0]",
        "sequence batching preferred batch size must be <= max batch size for m",
    ),
    (
        sequence('state [{ input_name: "a" dims: [2] initial_state { dims: [3] zero_data: true name: "n" } }]'),
        "sequence_batching.state[0].initial_state[0].dims",
        "'initial_state' dim for input name 'a' doesn't match 'state' dim description. 3 != 2",
    ),
    (
        sequence('state [{ input_name: "a" dims: [-1] initial_state { dims: [-1] zero_data: true name: "n" } }]'),
        "sequence_batching.state[0].initial_state[0].dims",
        "'initial_state' field for state input name 'a' contains variable dimensions.",
    ),
    (
        sequence('state [{ input_name: "a" dims: [2] initial_state { dims: [2] zero_data: true } }]'),
        "sequence_batching.state[0].initial_state[0].name",
        "Field 'name' must be set when using initial_state for state input 'a'.",
    ),
    (
        BATCHED + 'batch_input [{ target_name: "T" data_type: TYPE_INT64 source_input: "I" }]',
        "batch_input[0].data_type",
        "batch input data type must be TYPE_INT32 or TYPE_FP32 for m",
    ),
    (
        BATCHED + 'batch_input [{ target_name: "T" data_type: TYPE_FP32 source_input: "Q" }]',
        "batch_input[0].source_input",
        "unknown source input name 'Q' for m",
    ),
    (
        BATCHED + 'batch_input [{ target_name: "T" data_type: TYPE_FP32 }]',
        "batch_input[0].source_input",
        "batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, got 0 for m",
    ),
    (
        BATCHED + 'batch_output [{ target_name: "Q" source_input: "I" }]',
        "batch_output[0].target_name",
        "unknown target output name 'Q' for m",
    ),
    (ENSEMBLE, "ensemble_scheduling", "ensemble scheduling must be set for ensemble m whose platform is ensemble"),
    (
        PYTHON + f"ensemble_scheduling {{ {STEP} }}",
        "platform",
        "ensemble scheduling cannot be set for model 'm' whose platform is not ensemble",
    ),
    (ENSEMBLE + "ensemble_scheduling {}", "ensemble_scheduling.step", "must specify 'step' for ensemble 'm'"),
    (
        ENSEMBLE + f"ensemble_scheduling {{ {STEP} step [{{}}] }}",
        "ensemble_scheduling.step[1].model_name",
        "must specify 'model_name' in step 1 of ensemble 'm'",
    ),
    (
        ENSEMBLE + "ensemble_scheduling { " + STEP.replace('value: "I"', 'value: "T"') + " }",
        "input[0]",
        "ensemble input 'I' for ensemble m' is not used",
    ),
    (
        ENSEMBLE + "ensemble_scheduling { " + STEP.replace('value: "O"', 'value: "T"') + " }",
        "output[0]",
        "ensemble output 'O' for ensemble m' is not used",
    ),
    (
        ENSEMBLE + f"ensemble_scheduling {{ {STEP} {STEP} }}",
        "ensemble_scheduling.step[1].output_map",
        "ensemble tensor 'O' can appear in an output map only once for ensemble 'm' step 1",
    ),
    (
        ENSEMBLE + f"instance_group [{{}}] ensemble_scheduling {{ {STEP} }}",
        "instance_group",
        "instance group should not be specified for ensemble 'm'",
    ),
    (
        ENSEMBLE + f"optimization {{}} ensemble_scheduling {{ {STEP} }}",
        "optimization",
        "optimization should not be specified for ensemble 'm'",
    ),
]


@pytest.mark.parametrize(
    ("text", "path", "message"), CASES, ids=[f"{one[1]}-{number}" for number, one in enumerate(CASES)]
)
def test_errors_have_the_real_servers_words(text: str, path: str, message: str) -> None:
    found = {one.path: one for one in errors_of(problems(text))}
    assert message in found[path].message
    assert found[path].found
    assert found[path].expected


def test_names_that_come_twice() -> None:
    twice = '{ name: "I" data_type: TYPE_FP32 dims: [4] }, { name: "I" data_type: TYPE_FP32 dims: [4] }'
    (problem,) = problems(f'backend: "python" input [{twice}]')
    assert problem.path == "input[1].name"
    assert problem.found == "the name of input[0] again"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (PYTHON + "dynamic_batching {}", "dynamic_batching"),
        (PYTHON + "instance_group [{ count: -1 }]", "instance_group[0].count"),
        (PYTHON + 'instance_group [{ name: "a" }, { name: "a" }]', "instance_group[1].name"),
    ],
)
def test_what_the_real_server_serves_is_a_warning(text: str, path: str) -> None:
    found = problems(text)
    assert [(one.path, one.warning) for one in found] == [(path, True)]
    assert errors_of(found) == []


def test_gaps_are_left_to_autofill() -> None:
    text = 'backend: "onnxruntime" input [{ name: "I" }]'
    assert len(problems(text)) == 2
    assert problems(text, complete=False) == []


def test_the_backend_may_come_from_the_files() -> None:
    assert [one.path for one in problems(IO, files=["foo.bin"])] == ["backend"]
    assert problems(IO, files=["model.onnx"]) == []


def test_gpus_are_checked_where_they_are_known() -> None:
    text = PYTHON + "instance_group [{ kind: KIND_GPU gpus: [0, 3] }, { kind: KIND_GPU }]"
    assert problems(text) == []
    assert [one.path for one in problems(text, gpus=[0])] == ["instance_group[0].gpus[1]"]
    first, second, third = problems(text, gpus=[])
    assert first.remedy == "Remove gpus, and use kind: KIND_CPU."
    words = "GPUs with at least the minimum required CUDA compute compatibility of 6.000000 are: "
    assert f"instance group m_0 of model m specifies invalid or unsupported gpu id 0. {words}" == first.message
    assert f"instance group m_0 of model m specifies invalid or unsupported gpu id 3. {words}" == second.message
    assert third.message == "instance group m_1 of model m has kind KIND_GPU but no GPUs are available"
    (automatic,) = problems(PYTHON + "instance_group [{ gpus: [0] }]", gpus=[])
    assert automatic.message == "instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs"
    assert automatic.found == "gpus: [0] on a machine without GPUs"
    assert problems(PYTHON + "instance_group [{ gpus: [0] }]", gpus=[0, 1]) == []


def test_all_problems_in_one_error() -> None:
    text = 'name: "x" platform: "onnxruntime_onx" max_batch_size: -4 input [{ name: "I" dims: [0] }]'
    error = str(config_error(problems(text), "m/config.pbtxt"))
    assert error.startswith("m/config.pbtxt: 5 problems\n  1. name: unexpected directory name 'm' for model 'x'")
    assert "2. platform: unexpected platform type 'onnxruntime_onx' for x" in error
    assert "Did you mean 'onnxruntime_onnx'?" in error
    assert "3. max_batch_size: " in error
    assert "4. input[0].data_type: " in error
    assert "5. input[0].dims[0]: " in error


def test_one_problem_is_one_line() -> None:
    (problem,) = problems(PYTHON + "max_batch_size: -1")
    assert str(config_error([problem], "m/config.pbtxt")) == (
        "m/config.pbtxt: max_batch_size: 'max_batch_size' must be non-negative value for m. Found -1; expected 0 (no "
        "batch dimension) or more. Set it to the largest batch that the model takes."
    )


@pytest.mark.parametrize(
    "filename", ["../../other/1/model.onnx", "/etc/passwd", "a/../../../b", "../..", "..//../x", "a\\000b"]
)
def test_the_model_file_is_in_the_models_folder(filename: str) -> None:
    (found,) = problems(f'default_model_filename: "{filename}" {PYTHON}')
    assert found.path == "default_model_filename"
    assert "outside of the model's folder" in found.message
    assert not found.warning


@pytest.mark.parametrize("filename", ["net.onnx", "a/b.onnx", "../shared.onnx", "a/../../shared.onnx", "a..b", "..a/x"])
def test_a_file_that_versions_share_may_lie_above_them(filename: str) -> None:
    assert not problems(f'default_model_filename: "{filename}" {PYTHON}')
