"""TensorFlow's errors in few words, the places of models, and what is kept from stderr."""

import os
import threading

import pytest

from atoll.backends.error_text import MOST_TEXT
from atoll.backends.tensorflow.backend import TensorFlowBackend
from atoll.backends.tensorflow.errors import error_text, execution_error
from atoll.backends.tensorflow.runtime import _without_noise
from atoll.backends.tensorflow.types import data_type_of
from atoll.errors import ConfigError, InternalError, InvalidArgumentError
from atoll.tensor import DataType


class TensorFlowError(Exception):
    """As TensorFlow's: with the whole text as `message`."""

    def __init__(self, message: str):
        super().__init__(None, None, message)
        self.message = message


class UnavailableError(TensorFlowError):
    """Another of TensorFlow's."""


WRONG_VALUE = type("InvalidArgumentError", (TensorFlowError,), {})
TRACED = (
    "indices[0] = 9 is not in [0, 2)\n\t [[{{node model/gather}}]]\n\t [[StatefulPartitionedCall]]\n\n"
    "Original stack trace for 'model/gather':\n  File 'train.py'"
)


def test_traces_are_left_out_and_the_node_is_kept() -> None:
    assert error_text(TensorFlowError(TRACED)) == "indices[0] = 9 is not in [0, 2) (node model/gather)"


def test_long_messages_are_cut() -> None:
    assert len(error_text(TensorFlowError("x" * 10_000_000))) < MOST_TEXT + 10


def test_an_error_without_words_goes_by_its_name() -> None:
    assert error_text(ValueError()) == "ValueError"


def test_a_message_that_quotes_bytes_is_readable() -> None:
    text = b"could not convert string: \xff\xfe"
    error = UnicodeDecodeError("utf-8", text, 26, 27, "invalid start byte")
    found = execution_error(error, blame_values=True)
    assert isinstance(found, InvalidArgumentError)
    assert str(found) == "tensorflow: could not convert string: \\xff\\xfe"


def test_only_values_are_a_requests_fault() -> None:
    assert isinstance(execution_error(WRONG_VALUE(TRACED), blame_values=True), InvalidArgumentError)
    assert isinstance(execution_error(WRONG_VALUE(TRACED), blame_values=False), InternalError)
    assert isinstance(execution_error(UnavailableError("gone"), blame_values=True), InternalError)
    ours = ConfigError("ours")
    assert execution_error(ours, blame_values=True) is ours


def test_types_of_the_protocol_have_numbers_and_others_none() -> None:
    found = {data_type_of(number) for number in range(200)} - {None}
    assert found == set(DataType) - {DataType.INVALID}
    assert data_type_of(8) is None  # DT_COMPLEX64


def test_only_the_known_lines_are_kept_from_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    def write(text: str) -> None:
        os.write(2, text.encode())

    with _without_noise():
        write("before\nWARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n")
        thread = threading.Thread(target=write, args=("of another thread\n",))
        thread.start()
        thread.join()
        write("I0000 port.cc:153] oneDNN custom operations are on. You may see\nand the rest")
    write("\nafter\n")
    assert capfd.readouterr().err == "before\nof another thread\nand the rest\nafter\n"


def test_a_backend_is_made_without_tensorflow() -> None:
    backend = TensorFlowBackend()
    assert backend.name == "tensorflow"
    assert backend.default_model_filename == "model.savedmodel"
