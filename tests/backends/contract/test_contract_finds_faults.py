"""Each fault that a backend may have is found by the suite, and a backend without one passes."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backends.contract import faulty_backend
from tests.backends.contract.faulty_backend import FaultyBackend, FaultyContract

from atoll.backends import registry
from atoll.errors import AtollError
from atoll.server import Server
from atoll.testing.backend_contract.watching import Watched
from atoll.testing.backend_contract.workshop import Workshop

ALONE = {  # by fault, the test that finds it, with its parameter
    "says another type": ("test_a_configuration_is_made_from_the_file_alone", True),
    "says another shape": ("test_a_configuration_is_made_from_the_file_alone", False),
    "takes any file": ("test_a_wrong_file_is_refused_by_its_name", "noise"),
    "does not name the file": ("test_a_wrong_file_is_refused_by_its_name", "empty"),
    "does not say what the file is": ("test_a_wrong_file_is_refused_by_its_name", "git-lfs"),
    "raises anything": ("test_a_wrong_file_is_refused_by_its_name", "cut off"),
    "rounds": ("test_extreme_values", "FP64"),
    "returns text": ("test_extreme_values", "BYTES"),
    "ends strings at a NUL": ("test_odd_bytes_go_through_or_are_refused", "NULs at the end"),
    "loses NaN": ("test_not_a_number_and_infinities", "FP16"),
    "answers one row": ("test_batches_of_any_size", None),
    "makes a row of scalars": ("test_scalars", True),
    "mixes outputs up": ("test_only_the_outputs_asked_for", None),
    "writes to inputs": ("test_inputs_are_read_and_not_written", None),
    "returns inputs": ("test_inputs_are_read_and_not_written", None),
    "uses outputs again": ("test_outputs_outlive_the_next_execution_and_the_model", None),
    "shares between instances": ("test_instances_answer_rightly_from_several_threads", True),
    "is of one thread": ("test_an_instance_is_driven_by_one_thread_after_the_other", None),
    "runs the model's code": ("test_what_is_bounded_runs_no_code_of_the_model_and_waits_for_nothing", None),
    "waits": ("test_what_is_bounded_runs_no_code_of_the_model_and_waits_for_nothing", None),
    "has threads do it": ("test_what_is_bounded_runs_no_code_of_the_model_and_waits_for_nothing", None),
    "stays": ("test_objects_of_a_closed_model_are_gone", None),
    "keeps files open": ("test_loading_again_and_again_leaves_no_threads_or_files", None),
    "keeps threads": ("test_loading_again_and_again_leaves_no_threads_or_files", None),
}
IN_A_SERVER = {
    "answers one row": "test_a_request_is_answered",
    "mixes outputs up": "test_only_the_outputs_asked_for_are_answered",
}
OTHERS = [
    "test_it_is_warm_before_it_is_ready",
    "test_requests_are_joined",
    "test_a_cancelled_request_is_not_executed",
    "test_a_model_is_loaded_anew_and_unloaded",
    "test_a_model_that_was_mended_loads",
    "test_strings_are_answered",
    "test_tensors_of_nothing_are_answered",
    "test_one_thread_after_the_other_may_drive",
    "test_scalars_are_answered",
    "test_a_wrong_request_hits_no_other",
    "test_instances_execute_at_once",
]

Try = Callable[[str, str, Any], BaseException | None]


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Try]:
    """Runs one test of the suite on a backend with that fault: what it raises."""
    servers: list[Server] = []

    def run(fault: str, test: str, parameter: Any) -> BaseException | None:
        monkeypatch.setitem(registry._made, "faulty", FaultyBackend(fault))
        workshop = Workshop("faulty", {}, tmp_path / f"attempt{len(servers)}")
        repository = workshop.folder()
        repository.mkdir(parents=True)
        servers.append(workshop.server(repository).start())
        given = {"workshop": workshop, "repository": repository, "server": servers[-1]}
        method = getattr(FaultyContract(), test)
        wanted = inspect.signature(method).parameters
        if "watched" in wanted:
            given["watched"] = Watched("faulty", monkeypatch)
        try:
            method(**{name: given.get(name, parameter) for name in wanted})
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
            return error
        return None

    yield run
    for server in servers:
        server.stop()
    faulty_backend.kept.clear()


@pytest.mark.parametrize("fault", ALONE)
def test_a_fault_is_found(attempt: Try, fault: str) -> None:
    assert attempt("", *ALONE[fault]) is None
    found = attempt(fault, *ALONE[fault])
    assert found is not None
    assert not isinstance(found, (pytest.skip.Exception, TypeError, AttributeError)), found


@pytest.mark.parametrize("fault", IN_A_SERVER)
def test_a_fault_is_found_in_a_server(attempt: Try, fault: str) -> None:
    assert attempt("", IN_A_SERVER[fault], None) is None
    found = attempt(fault, IN_A_SERVER[fault], None)
    assert isinstance(found, (AssertionError, AtollError)), found


@pytest.mark.parametrize("test", OTHERS)
def test_what_is_right_passes(attempt: Try, test: str) -> None:
    assert attempt("", test, None) is None


def test_a_heavy_import_is_found(attempt: Try) -> None:
    found = attempt("", "test_nothing_heavy_is_imported_before_a_model_needs_it", None)
    assert "imports ['xml.dom.minidom']" in str(found)


def test_what_cannot_be_done_is_skipped_with_its_reason(attempt: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaultyContract, "cannot", {"BF16": "there is no room for it"})
    skipped = attempt("", "test_extreme_values", "BF16")
    assert isinstance(skipped, pytest.skip.Exception)
    assert str(skipped) == "faulty cannot do 'BF16' (tensors of BF16): there is no room for it"
    assert attempt("", "test_extreme_values", "FP16") is None


@pytest.mark.parametrize("declared", [{"FP31": "no such type"}, {"BF16": " "}])
def test_a_wrong_declaration_is_found(attempt: Try, monkeypatch: pytest.MonkeyPatch, declared: dict[str, str]) -> None:
    monkeypatch.setattr(FaultyContract, "cannot", declared)
    assert isinstance(attempt("", "test_what_it_says_of_itself", None), AssertionError)


def test_a_maker_that_is_missing_is_named(attempt: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FaultyContract, "identity")
    found = attempt("", "test_batches_of_any_size", None)
    assert str(found) == "FaultyContract lacks the maker 'identity'"
