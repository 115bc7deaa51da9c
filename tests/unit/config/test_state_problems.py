"""What is wrong with states and control inputs: by themselves, with the real server's words, and with a model file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atoll.config.agreement import check
from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.config.textproto import read_config_text
from atoll.config.validate import validate_config
from atoll.errors import ConfigError
from atoll.execution.sequences.initial_state import initial_states
from atoll.tensor import DataType

NAMES = 'input_name: "S_IN" output_name: "S_OUT" '
FP32 = NAMES + "data_type: TYPE_FP32 dims: [2] "


def config(batching: str, rest: str = "", size: int = 4) -> ModelConfig:
    text = (
        f'backend: "python" max_batch_size: {size} input [{{ name: "IN" data_type: TYPE_FP32 dims: [1] }}] '
        f'output [{{ name: "OUT" data_type: TYPE_FP32 dims: [2] }}] {rest} sequence_batching {{ {batching} }}'
    )
    return read_config_text(text, "m/config.pbtxt")


def problems(batching: str) -> list[Problem]:
    return validate_config(config(batching), "m")


def initial(text: str) -> str:
    return f'state [{{ {FP32} initial_state {{ name: "x" {text} }} }}]'


# Each message was seen in an answer or the log of the real server 2.51 for such a model.
SEEN = [
    (
        initial("data_type: TYPE_FP32 dims: [2]"),
        "state[0].initial_state[0]",
        "initial_state setting expects state'S_IN' to have state_data set",
    ),
    (
        initial("data_type: TYPE_INT32 dims: [2] zero_data: true"),
        "state[0].initial_state[0].data_type",
        "The data type used for 'initial_state' field of state 'S_IN' does not match the state data type.",
    ),
    (
        initial("dims: [2] zero_data: true"),
        "state[0].initial_state[0].data_type",
        "The data type used for 'initial_state' field of state 'S_IN' does not match the state data type.",
    ),
    (
        initial("data_type: TYPE_FP32 zero_data: true"),
        "state[0].initial_state[0].dims",
        "Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions for state input 'S_IN'. "
        "0 != 1",
    ),
    (
        initial("data_type: TYPE_FP32 dims: [3] zero_data: true"),
        "state[0].initial_state[0].dims",
        "'initial_state' dim for input name 'S_IN' doesn't match 'state' dim description. 3 != 2",
    ),
    (
        f'state [{{ {FP32} initial_state [{{ name: "x" data_type: TYPE_FP32 dims: [2] zero_data: true }}, '
        '{ name: "y" data_type: TYPE_FP32 dims: [2] zero_data: true }] }]',
        "state[0].initial_state",
        "initial_state field for state input 'S_IN' must contain exactly one or zero element. Found '2' elements.",
    ),
    (
        'control_input [{ name: "A" control [{ fp32_false_true: [0, 1] }] }, '
        '{ name: "A" control [{ kind: CONTROL_SEQUENCE_END fp32_false_true: [0, 1] }] }]',
        "control_input[1]",
        "sequence batching control tensor 'A' is specified for multiple control kinds for m",
    ),
]
# The real server loads these; then it crashes, or the tensor is another one than was meant.
OURS = [
    (
        'state [{ output_name: "S_OUT" data_type: TYPE_FP32 dims: [2] }]',
        "state[0].input_name",
        "must specify 'input_name'",
    ),
    (
        'state [{ input_name: "S_IN" data_type: TYPE_FP32 dims: [2] }]',
        "state[0].output_name",
        "must specify 'output_name'",
    ),
    (f"state [{{ {NAMES} dims: [2] }}]", "state[0].data_type", "must specify 'data_type'"),
    (f"state [{{ {NAMES} data_type: TYPE_FP32 }}]", "state[0].dims", "must specify 'dims'"),
    (f"state [{{ {NAMES} data_type: TYPE_FP32 dims: [-2] }}]", "state[0].dims[0]", "must be integer >= 0, or -1"),
    (
        'state [{ input_name: "IN" output_name: "S_OUT" data_type: TYPE_FP32 dims: [2] }]',
        "state[0].input_name",
        "state input 'IN' is specified more than once",
    ),
    (f"state [{{ {FP32} }}, {{ {FP32} }}]", "state[1].input_name", "state input 'S_IN' is specified more than once"),
    (f"state [{{ {FP32} }}, {{ {FP32} }}]", "state[1].output_name", "state output 'S_OUT' is specified more than once"),
    (
        'state [{ input_name: "S_IN" output_name: "OUT" data_type: TYPE_INT32 dims: [2] }]',
        "state[0].data_type",
        "output 'OUT' and the state of that name differ in data type",
    ),
    (
        'state [{ input_name: "S_IN" output_name: "OUT" data_type: TYPE_FP32 dims: [3] }]',
        "state[0].dims",
        "output 'OUT' and the state of that name differ in dims",
    ),
    (
        'control_input [{ name: "IN" control [{ fp32_false_true: [0, 1] }] }]',
        "control_input[0].name",
        "control tensor 'IN' is an input that clients send, too",
    ),
    (
        'control_input [{ name: "S_IN" control [{ fp32_false_true: [0, 1] }] }] state [{ ' + FP32 + "}]",
        "state[0].input_name",
        "state input 'S_IN' is specified more than once",
    ),
    (
        'control_input [{ name: "A" control [{ fp32_false_true: [0, 1] }, '
        "{ kind: CONTROL_SEQUENCE_END fp32_false_true: [0, 1] }] }]",
        "control_input[0]",
        "control tensor 'A' is specified for multiple control kinds",
    ),
]


@pytest.mark.parametrize(("batching", "path", "message"), SEEN)
def test_the_real_servers_words(batching: str, path: str, message: str) -> None:
    assert (f"sequence_batching.{path}", message) in [(one.path, one.message) for one in problems(batching)]


@pytest.mark.parametrize(("batching", "path", "message"), OURS)
def test_what_would_only_show_later(batching: str, path: str, message: str) -> None:
    assert [one for one in problems(batching) if one.path == f"sequence_batching.{path}" and message in one.message]


def test_nothing_to_say() -> None:
    listed = 'state [{ input_name: "S_IN" output_name: "OUT" data_type: TYPE_FP32 dims: [2] }]'
    for batching in (listed, f"state [{{ {FP32} }}]", initial("data_type: TYPE_FP32 dims: [2] zero_data: false")):
        assert problems(batching) == []


# ---- first values from files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "model" / "initial_state"
    inside.mkdir(parents=True)
    (inside / "short.bin").write_bytes(b"abcd")
    (inside / "long.bin").write_bytes(np.array([5, 6, 7], np.float32).tobytes())
    (tmp_path / "model" / "secret").write_bytes(b"12345678")
    (inside / "folder").mkdir()
    return tmp_path / "model"


def of_file(name: str) -> str:
    return initial(f'data_type: TYPE_FP32 dims: [2] data_file: "{name}"')


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("short.bin", "initial_state setting expects 8 bytes, but the data provided from short.binonly has 4 bytes."),
        ("nope.bin", "failed to open text file for read {folder}/initial_state/nope.bin: No such file or directory"),
        ("folder", "failed to open text file for read {folder}/initial_state/folder"),
        ("../secret", "file name '../secret' does not name a file inside {folder}/initial_state"),
        ("/etc/hostname", "does not name a file inside {folder}/initial_state"),
    ],
)
def test_a_file_that_cannot_be_a_state(folder: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        initial_states(config(of_file(name)), folder)
    [problem] = caught.value.problems
    assert problem.path == "sequence_batching.state[0].initial_state[0].data_file"
    assert message.format(folder=folder) in problem.message


def test_first_values(folder: Path) -> None:
    state = initial_states(config(of_file("long.bin")), folder)["S_IN"]
    assert state.tolist() == [[5, 6]]
    assert not state.flags.writeable
    assert initial_states(config(of_file("long.bin"), size=0), folder)["S_IN"].tolist() == [5, 6]
    variable = f"state [{{ {NAMES} data_type: TYPE_FP32 dims: [-1, 3] }}]"
    assert initial_states(config(variable), folder)["S_IN"].tolist() == [[[0, 0, 0]]]  # 1, as in the real server
    text = f"state [{{ {NAMES} data_type: TYPE_STRING dims: [2] }}]"
    assert initial_states(config(text), folder)["S_IN"].tolist() == [[b"", b""]]


def test_a_state_that_no_machine_holds(folder: Path) -> None:
    large = f"state [{{ {NAMES} data_type: TYPE_FP32 dims: [100000000000] }}]"
    with pytest.raises(ConfigError, match=r"state 'S_IN' of model .* is too large: 400000000000 bytes a sequence"):
        initial_states(config(large), folder)


@pytest.mark.parametrize(
    ("data_type", "dims"),
    [
        ("FP32", "0, 4611686018427387904"),
        ("FP32", "9223372036854775807, 0"),
        ("STRING", "536870912"),  # empty ones, but each has its place
        ("STRING", "0, 536870912"),
        ("FP32", ", ".join(["1"] * 64)),
    ],
)
def test_dims_of_which_no_array_is_made_are_said_by_their_key(folder: Path, data_type: str, dims: str) -> None:
    large = f"{NAMES} data_type: TYPE_{data_type} dims: [{dims}]"
    small = 'input_name: "S2" output_name: "S3" data_type: TYPE_FP32 dims: [2]'
    with pytest.raises(ConfigError) as caught:
        initial_states(config(f"state [{{ {large} }}, {{ {small} }}]"), folder)
    assert [one.path for one in caught.value.problems] == ["sequence_batching.state[0].dims"]


def test_a_file_of_strings_is_of_bounded_length(folder: Path) -> None:
    with (folder / "initial_state" / "endless").open("wb") as file:
        file.truncate(1 << 40)
    state = f'{NAMES} data_type: TYPE_STRING dims: [1] initial_state {{ name: "x" data_type: TYPE_STRING dims: [1] '
    with pytest.raises(ConfigError, match="which is too large"):
        initial_states(config(f'state [{{ {state} data_file: "endless" }} }}]'), folder)


# ---- with a model file


def signature(control: tuple[int, ...], state: tuple[int, ...] = (-1, 2)) -> ModelSignature:
    return ModelSignature(
        inputs=(
            TensorSignature(name="IN", data_type=DataType.FP32, shape=(-1, 1)),
            TensorSignature(name="START", data_type=DataType.FP32, shape=control),
            TensorSignature(name="S_IN", data_type=DataType.FP32, shape=state),
        ),
        outputs=(
            TensorSignature(name="OUT", data_type=DataType.FP32, shape=(-1, 2)),
            TensorSignature(name="S_OUT", data_type=DataType.FP32, shape=state),
        ),
    )


AGREED = 'control_input [{ name: "START" control [{ fp32_false_true: [0, 1] }] }] state [{ ' + FP32 + "}]"


def test_agreement() -> None:
    assert check(config(AGREED), signature((-1, 1))) == []
    assert check(config(AGREED), signature((-1, -1), (-1, -1))) == []


@pytest.mark.parametrize(
    ("batching", "found", "path", "message"),
    [
        (
            AGREED,
            signature((-1, 2)),
            "control_input[0].name",
            "unable to load model 'm', sequence control 'START' in model has dims [2] but dims [1] is expected",
        ),
        (
            AGREED,
            signature((-1,)),
            "control_input[0].name",
            "unable to load model 'm', sequence control 'START' in model has dims [] but dims [1] is expected",
        ),
        (
            AGREED.replace("fp32_false", "int32_false"),
            signature((-1, 1)),
            "control_input[0]",
            "unable to load model 'm', sequence control 'START', the model expects data-type TYPE_FP32 but the model "
            "configuration specifies data-type TYPE_INT32",
        ),
        (
            AGREED,
            signature((-1, 1), (-1, 3)),
            "state[0].dims",
            "unable to load model 'm', state input 'S_IN': the model expects 2 dimensions (shape [-1,3]) but the model "
            "configuration specifies 2 dimensions (shape [-1,2])",
        ),
        (
            AGREED.replace("S_OUT", "S_OUTT"),
            signature((-1, 1)),
            "state[0].output_name",
            "configuration specified state output 'S_OUTT', but model does not provide that output",
        ),
    ],
)
def test_disagreement(batching: str, found: ModelSignature, path: str, message: str) -> None:
    problems = check(replace(config(batching), name="m"), found)
    assert (f"sequence_batching.{path}", message) in [(one.path, one.message) for one in problems]
