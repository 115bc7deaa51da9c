"""What is filled in from the model file and from Triton's defaults, and where the file disagrees."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.autofill import ModelSignature, TensorSignature, check, fill, normalize
from atoll.config.json_form import to_json
from atoll.config.model_config import (
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelInstanceGroup,
    ModelOutput,
    ModelSequenceBatching,
    ModelTensorReshape,
    ModelVersionPolicy,
)
from atoll.config.platforms import backend_of, default_model_filename, guess_backend, near_platform, platform_of
from atoll.config.textproto import read_config_text
from atoll.config.validate import validate_config
from atoll.config.versions import choose_versions
from atoll.tensor import DataType

NOTHING = ModelConfig(name="m", backend="onnxruntime")


def signature(inputs: dict[str, tuple[int, ...] | None], outputs: dict[str, tuple[int, ...] | None]) -> ModelSignature:
    return ModelSignature(
        inputs=tuple(
            TensorSignature(name=name, data_type=DataType.FP32, shape=shape) for name, shape in inputs.items()
        ),
        outputs=tuple(
            TensorSignature(name=name, data_type=DataType.INT64, shape=shape) for name, shape in outputs.items()
        ),
    )


BATCHING = signature({"I": (-1, 3, -1)}, {"O": (-1,)})
FIXED = signature({"I": (1, 4)}, {"O": (-1, 4)})


def config(text: str) -> ModelConfig:
    return replace(read_config_text(text, "f"), name="m")


def test_a_batching_model_without_a_configuration() -> None:
    filled = fill(NOTHING, BATCHING)
    assert filled.max_batch_size == 4
    assert filled.dynamic_batching == ModelDynamicBatching()
    assert filled.input == (ModelInput(name="I", data_type=DataType.FP32, dims=(3, -1)),)
    # a tensor that has only the batch dimension gets one element for clients, none for the model
    assert filled.output == (ModelOutput(name="O", data_type=DataType.INT64, dims=(1,), reshape=ModelTensorReshape()),)
    assert check(filled, BATCHING) == []
    assert validate_config(filled, "m") == []


def test_a_model_that_cannot_batch() -> None:
    filled = fill(NOTHING, FIXED)
    assert filled.max_batch_size == 0
    assert filled.dynamic_batching is None
    assert filled.input[0].dims == (1, 4)
    assert check(filled, FIXED) == []


@pytest.mark.parametrize(("default", "dynamic"), [(0, False), (1, False), (2, True)])
def test_dynamic_batching_comes_with_a_default_over_1(default: int, dynamic: bool) -> None:
    filled = fill(NOTHING, BATCHING, default_max_batch_size=default)
    assert filled.max_batch_size == default
    assert (filled.dynamic_batching is not None) is dynamic


def test_what_the_configuration_says_stays() -> None:
    assert fill(replace(NOTHING, max_batch_size=7), BATCHING).max_batch_size == 7
    assert fill(replace(NOTHING, max_batch_size=7), BATCHING).dynamic_batching is None
    filled = fill(replace(NOTHING, sequence_batching=ModelSequenceBatching()), BATCHING)
    assert filled.max_batch_size == 4
    assert filled.dynamic_batching is None


def test_both_tensor_lists_given_keep_max_batch_size_0() -> None:
    given_both = config('input [{ name: "I" dims: [-1, 3, -1] }] output [{ name: "O" dims: [-1] }]')
    filled = fill(given_both, BATCHING)
    assert filled.max_batch_size == 0
    assert filled.input[0].data_type is DataType.FP32
    assert filled.output[0].data_type is DataType.INT64
    assert check(filled, BATCHING) == []


def test_whole_shapes_given_mean_no_batching() -> None:
    filled = fill(config('input [{ name: "I" dims: [-1, 3, -1] }]'), BATCHING)
    assert filled.max_batch_size == 0
    assert filled.output[0].dims == (-1,)
    assert check(filled, BATCHING) == []


def test_only_missing_parts_of_a_given_tensor_are_filled() -> None:
    filled = fill(config('input [{ name: "I" format: FORMAT_NONE allow_ragged_batch: true }, { name: "X" }]'), BATCHING)
    first, second = filled.input
    assert (first.data_type, first.dims, first.allow_ragged_batch) == (DataType.FP32, (3, -1), True)
    assert second == ModelInput(name="X")


def test_inputs_that_the_server_makes_are_not_clients_inputs() -> None:
    given_controls = config(
        'sequence_batching { control_input [{ name: "START" control [{ fp32_false_true: [0, 1] }] }] '
        'state [{ input_name: "SI" output_name: "SO" }] } '
        'batch_input [{ target_name: "T" }]'
    )
    inputs: dict[str, tuple[int, ...] | None] = {"I": (-1, 2), "SI": (-1, 2), "START": (-1, 1), "T": (-1,)}
    found = signature(inputs, {"O": (-1, 2), "SO": (-1, 2)})
    filled = fill(given_controls, found)
    assert [one.name for one in filled.input] == ["I"]
    assert [one.name for one in filled.output] == ["O"]
    assert check(filled, found) == []


def test_dims_of_ragged_inputs_and_scattered_outputs_are_not_those_of_the_file() -> None:
    ragged = config(
        'max_batch_size: 4 input [{ name: "I" allow_ragged_batch: true }] output [{ name: "O" }, { name: "S" }] '
        'batch_output [{ target_name: "O" source_input: "I" }]'
    )
    filled = fill(ragged, signature({"I": (-1,)}, {"O": (-1,), "S": (-1, 2)}))
    assert filled.input[0].dims == (-1,)
    assert [one.dims for one in filled.output] == [(), (2,)]
    (problem,) = [one for one in validate_config(filled, "m") if "dims" in one.path]
    assert problem.path == "output[0].dims"


def test_an_optional_input_stays_optional() -> None:
    found = replace(BATCHING, inputs=(replace(BATCHING.inputs[0], optional=True),))
    assert fill(NOTHING, found).input[0].optional


def test_a_backend_may_know_better_than_the_shapes() -> None:
    assert not replace(BATCHING, batching=False).supports_batching()
    assert replace(FIXED, batching=True).supports_batching()
    assert not signature({"I": None}, {}).supports_batching()
    assert not signature({}, {}).supports_batching()


shapes = st.lists(st.integers(1, 4) | st.just(-1), max_size=3).map(tuple)


@given(
    st.dictionaries(st.sampled_from("ABC"), shapes, min_size=1),
    st.dictionaries(st.sampled_from("XYZ"), shapes, min_size=1),
)
def test_what_is_filled_in_is_valid_and_agrees(
    inputs: dict[str, tuple[int, ...] | None], outputs: dict[str, tuple[int, ...] | None]
) -> None:
    found = signature(inputs, outputs)
    filled = fill(NOTHING, found)
    assert check(filled, found) == []
    assert validate_config(filled, "m") == []
    assert fill(filled, found) == filled


def only(problems: Sequence[object]) -> str:
    (problem,) = problems
    return str(problem)


IN, OUT = (
    'input [{ name: "I" data_type: TYPE_FP32 dims: [%s] }]',
    'output [{ name: "O" data_type: TYPE_INT64 dims: [%s] }]',
)
PLAIN = signature({"I": (-1, 3)}, {"O": (-1, 2)})


def test_a_batch_dimension_that_is_written_twice() -> None:
    text = only(check(config(IN % "-1, 3" + OUT % "2" + "max_batch_size: 8"), PLAIN))
    assert (
        "model 'm', tensor 'I': the model expects 2 dimensions (shape [-1,3]) but the model configuration specifies 3 "
        "dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, "
        "making complete shape [-1,-1,3])"
    ) in text
    assert (
        "Found I TYPE_FP32 dims: [-1,3], which is [-1,-1,3] with the batch dimension of max_batch_size: 8; "
        "expected I TYPE_FP32 [-1,3] as in the model file" in text
    )
    assert "max_batch_size: 8 already stands for: leave it out, dims: [3], or set max_batch_size: 0." in text


def test_a_batch_dimension_that_is_missing() -> None:
    text = only(check(config(IN % "3" + OUT % "-1, 2"), PLAIN))
    assert (
        "the model expects 2 dimensions (shape [-1,3]) but the model configuration specifies 1 dimensions (shape [3])"
        in text
    )
    assert "Found I TYPE_FP32 dims: [3]; expected I TYPE_FP32 [-1,3] as in the model file" in text
    assert "set max_batch_size to the largest batch; if it is not, put it into dims: [-1,3]." in text


def test_shapes_are_not_judged_under_an_impossible_batch_size() -> None:
    impossible = config(IN % "3" + OUT % "2" + "max_batch_size: -1")
    assert check(impossible, PLAIN) == []
    assert "max_batch_size" in [one.path for one in validate_config(impossible, "m", complete=False)]


def test_a_model_that_cannot_batch_with_a_batch_size() -> None:
    first, *_ = check(config(IN % "4" + OUT % "4" + "max_batch_size: 8"), FIXED)
    assert first.path == "input[0].dims"
    assert "first dimension must be -1; but shape expected by the model is [1,4]" in first.message
    first, *_ = check(config(IN % "4" + OUT % "4" + "max_batch_size: 8"), replace(FIXED, batching=False))
    assert "model does not support batching while non-zero max_batch_size is specified" in first.message


def test_a_size_of_its_own() -> None:
    text = only(check(config(IN % "5" + OUT % "2" + "max_batch_size: 8"), PLAIN))
    assert "Found I TYPE_FP32 dims: [5], which is [-1,5] with the batch dimension" in text
    assert (
        "expected I TYPE_FP32 [-1,3] as in the model file. Set dims: [3], without the model's first dimension" in text
    )


def test_names_types_and_missing_inputs() -> None:
    found = signature({"I": (-1, 3), "J": (-1,)}, {"O": (-1, 2)})
    wrong = config(
        'input [{ name: "i" data_type: TYPE_FP32 dims: [3] }] '
        'output [{ name: "O" data_type: TYPE_FP32 dims: [2] }] max_batch_size: 8'
    )
    unexpected, datatype = check(wrong, replace(found, inputs=found.inputs[:1]))
    assert unexpected.message == "unexpected inference input 'i', allowed inputs are: I"
    missing, unexpected, datatype = check(replace(wrong, input=()), found)[0], *check(wrong, found)[1:]
    assert "configuration expects 0 inputs, model provides 2" in missing.message
    assert missing.expected == "also I TYPE_FP32 [-1,3], J TYPE_FP32 [-1]"
    assert "configuration expects 1 inputs, model provides 2" in check(wrong, found)[0].message
    assert unexpected.path == "input[0].name"
    assert unexpected.message == "unexpected inference input 'i', allowed inputs are: I, J"
    assert unexpected.remedy == "Did you mean 'I'?"
    assert "I TYPE_FP32 [-1,3], J TYPE_FP32 [-1]" in unexpected.expected
    assert datatype.path == "output[0].data_type"
    assert datatype.found.startswith("O TYPE_FP32 dims: [2], which is [-1,2] with the batch dimension")
    assert datatype.expected == "O TYPE_INT64 [-1,2] as in the model file"
    assert datatype.remedy == "Set data_type: TYPE_INT64."


def test_a_tensor_under_a_wrong_name_is_compared_with_the_one_it_stands_for() -> None:
    found = signature({"PIXELS": (-1, 3), "MASK": (-1, 3)}, {"O": (-1, 2), "P": (-1, 2)})
    wrong = config(
        'input [{ name: "mask" data_type: TYPE_FP32 dims: [3] }, { name: "image" data_type: TYPE_FP64 dims: [5] }] '
        'output [{ name: "Q" data_type: TYPE_INT64 dims: [2] }] max_batch_size: 8'
    )
    problems = check(wrong, found)
    assert [one.path for one in problems] == [
        "input[0].name",
        "input[1].name",
        "input[1].data_type",
        "input[1].dims",
        "output[0].name",
    ]
    assert problems[0].remedy == "Did you mean 'MASK'?"
    assert problems[1].remedy == "Did you mean 'PIXELS'?"  # the only one left
    assert problems[4].remedy == "Name the tensor as the model file does."  # outputs may be left out: it may be neither


def test_ragged_inputs_reshapes_and_unserved_outputs_agree() -> None:
    found = signature({"I": (-1,), "J": (-1, 2, 2)}, {"O": (-1, 2), "P": (-1,)})
    text = (
        'input [{ name: "I" data_type: TYPE_FP32 dims: [5] allow_ragged_batch: true }, '
        '{ name: "J" data_type: TYPE_FP32 dims: [4] reshape { shape: [2, 2] } }] ' + OUT % "2" + " max_batch_size: 2"
    )
    assert check(config(text), found) == []


# The document of the real server 2.51 for this configuration of a Python model, as it prints it
REAL_SERVERS = {
    "name": "full",
    "platform": "",
    "backend": "python",
    "runtime": "",
    "version_policy": {"latest": {"num_versions": 1}},
    "max_batch_size": 4,
    "input": [
        {
            "name": "I",
            "data_type": "TYPE_FP32",
            "format": "FORMAT_NONE",
            "dims": [4],
            "is_shape_tensor": False,
            "allow_ragged_batch": False,
            "optional": False,
            "is_non_linear_format_io": False,
        }
    ],
    "output": [
        {
            "name": "O",
            "data_type": "TYPE_FP32",
            "dims": [4],
            "label_filename": "",
            "is_shape_tensor": False,
            "is_non_linear_format_io": False,
        }
    ],
    "batch_input": [],
    "batch_output": [],
    "optimization": {
        "priority": "PRIORITY_DEFAULT",
        "input_pinned_memory": {"enable": True},
        "output_pinned_memory": {"enable": True},
        "gather_kernel_buffer_threshold": 0,
        "eager_batching": False,
    },
    "dynamic_batching": {
        "preferred_batch_size": [4],
        "max_queue_delay_microseconds": 0,
        "preserve_ordering": False,
        "priority_levels": 0,
        "default_priority_level": 0,
        "priority_queue_policy": {},
    },
    "instance_group": [
        {
            "name": "full",
            "kind": "KIND_CPU",
            "count": 1,
            "gpus": [],
            "secondary_devices": [],
            "profile": [],
            "passive": False,
            "host_policy": "",
        }
    ],
    "default_model_filename": "model.py",
    "cc_model_filenames": {},
    "metric_tags": {},
    "parameters": {},
    "model_warmup": [],
}


def test_defaults_are_the_real_servers() -> None:
    text = 'backend: "python" max_batch_size: 4 dynamic_batching {}' + IN % "4" + (OUT % "4").replace("INT64", "FP32")
    document = to_json(normalize(read_config_text(text, "f"), name="full"))
    assert document == REAL_SERVERS
    assert list(document) == list(REAL_SERVERS)


def test_sequence_defaults() -> None:
    normal = normalize(config('backend: "python" max_batch_size: 4 sequence_batching { oldest {} }')).sequence_batching
    assert normal is not None
    assert normal.max_sequence_idle_microseconds == 1_000_000
    assert normal.oldest is not None
    assert normal.oldest.preferred_batch_size == (4,)


def test_instance_groups() -> None:
    text = (
        'backend: "python" instance_group [{ count: -1 }, { name: "z" kind: KIND_MODEL }, { kind: KIND_CPU count: 3 }]'
    )
    kinds = ModelInstanceGroup.Kind
    groups = normalize(config(text), default_instance_count=2).instance_group
    assert [(one.name, one.kind, one.count) for one in groups] == [
        ("m_0", kinds.KIND_CPU, 2),
        ("z", kinds.KIND_MODEL, 1),
        ("m_2", kinds.KIND_CPU, 3),
    ]
    (group,) = normalize(NOTHING, default_instance_count=2, gpus=[0, 1]).instance_group
    assert (group.name, group.kind, group.count, group.gpus) == ("m", kinds.KIND_GPU, 1, (0, 1))


def test_an_ensemble_has_neither_instances_nor_optimization() -> None:
    normal = normalize(config('platform: "ensemble" ensemble_scheduling {}'))
    assert normal.instance_group == ()
    assert normal.optimization is None
    assert (normal.platform, normal.backend, normal.default_model_filename) == ("ensemble", "", "")


def test_normalizing_twice_changes_nothing() -> None:
    once = normalize(fill(NOTHING, BATCHING), default_instance_count=2)
    assert normalize(once, default_instance_count=5) == once


@pytest.mark.parametrize(
    ("platform", "backend", "reported", "filename"),
    [
        ("onnxruntime_onnx", "onnxruntime", "onnxruntime_onnx", "model.onnx"),
        ("onnxruntime", "onnxruntime", "onnxruntime_onnx", "model.onnx"),
        ("pytorch", "pytorch", "pytorch_libtorch", "model.pt"),
        ("pytorch_libtorch", "pytorch", "pytorch_libtorch", "model.pt"),
        ("tensorflow_savedmodel", "tensorflow", "tensorflow_savedmodel", "model.savedmodel"),
        ("tensorflow_graphdef", "tensorflow", "tensorflow_graphdef", "model.graphdef"),
        ("tensorrt_plan", "tensorrt", "tensorrt_plan", "model.plan"),
        ("openvino", "openvino", "", "model.xml"),
        ("python", "python", "", "model.py"),
        ("ensemble", "", "ensemble", ""),
        ("nope", "", "nope", ""),
    ],
)
def test_platforms(platform: str, backend: str, reported: str, filename: str) -> None:
    given_platform = ModelConfig(platform=platform)
    assert backend_of(given_platform) == backend
    assert platform_of(given_platform) == reported
    assert default_model_filename(backend, platform) == filename


def test_backends_by_themselves() -> None:
    assert backend_of(ModelConfig(platform="tensorrt_plan", backend="python")) == "python"
    assert platform_of(ModelConfig(backend="onnxruntime")) == "onnxruntime_onnx"
    assert default_model_filename("mine") == "model.mine"
    assert guess_backend(["model.py", "model.onnx", "labels.txt"]) == "onnxruntime"
    assert guess_backend(["labels.txt"]) == ""


POLICY = ModelVersionPolicy


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (None, [10]),
        (POLICY(), [1, 2, 10]),  # seen on the real server: a policy that says nothing means all
        (POLICY(all=POLICY.All()), [1, 2, 10]),
        (POLICY(latest=POLICY.Latest(num_versions=2)), [2, 10]),
        (POLICY(latest=POLICY.Latest(num_versions=9)), [1, 2, 10]),
        (POLICY(latest=POLICY.Latest()), []),
        (POLICY(specific=POLICY.Specific(versions=(10, 1, 1, 7))), [1, 10]),
        (POLICY(specific=POLICY.Specific()), []),
    ],
)
def test_versions(policy: ModelVersionPolicy | None, chosen: list[int]) -> None:
    assert choose_versions(policy, [2, 10, 1]) == chosen
    assert choose_versions(policy, []) == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ONNX", "onnxruntime_onnx"),
        ("savedmodel", "tensorflow_savedmodel"),
        ("libtorch", "pytorch_libtorch"),
        ("plan", "tensorrt_plan"),
        ("onnxruntim_onnx", "onnxruntime_onnx"),
        ("nonsense", None),
    ],
)
def test_what_an_unknown_platform_likely_means(written: str, meant: str | None) -> None:
    assert near_platform(written) == meant
