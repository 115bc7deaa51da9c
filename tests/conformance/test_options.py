"""The command line: what people paste from tritonserver must mean the same here."""

import subprocess
import sys

import pytest
from tests.conformance.asking_again import skip_without_real_server
from tests.conformance.record import options
from tests.conformance.recording import read_record

from atoll.options import OPTIONS, OURS, Option

# Options that a later tritonserver than the recorded one (2.51) has.
LATER = {"allow-client-shm", "http-max-input-size", "grpc-infer-thread-count", "grpc-max-response-pool-size"}
KINDS = {"<integer>": int, "<float>": float, "<boolean>": bool, "<string>": str, "": bool}
THEIRS = [option for option in OPTIONS if option.source != OURS and option.name not in LATER]


@pytest.mark.parametrize("option", THEIRS, ids=lambda option: option.name)
def test_an_option_is_one_of_tritonservers_or_marked_as_ours(option: Option) -> None:
    recorded = read_record("options")
    assert option.name in recorded
    kind = KINDS.get(recorded[option.name])
    if kind is not None and option.kind is not list:
        assert option.kind is kind or {kind, option.kind} == {bool, int}


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.source == OURS], ids=lambda option: option.name
)
def test_an_option_of_ours_is_none_of_tritonservers(option: Option) -> None:
    assert option.name not in read_record("options")


@pytest.mark.oracle
def test_the_record_is_what_the_real_server_says() -> None:
    skip_without_real_server()
    assert options() == read_record("options")


def test_help_names_every_option() -> None:
    command = [sys.executable, "-m", "atoll", "serve", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for option in OPTIONS:
        assert f"--{option.name}" in text
