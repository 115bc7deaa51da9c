"""What is asked about the broken models: by name, the steps in their order."""

from collections.abc import Iterator

from tests.conformance.python_models.broken_models import AT_EXECUTE, AT_LOAD, PLAIN_WITH_SENDERS, WITH_SENDERS
from tests.conformance.python_models.steps import (
    AnyStep,
    around,
    call,
    infer,
    logged,
    request,
    settled,
    state_of,
    stream,
)
from tests.conformance.repository_questions import load, rpc, unload
from tritonclient.grpc import service_pb2 as pb

CRASHES = (
    *("execute_ends_the_process", "execute_segfaults", "execute_aborts", "execute_kills_itself"),
    "decoupled_ends_the_process",
)
"""What is asked next depends on whether the model's process has been started again by then."""
CLOSED = "Unable to send response. Response sender has been closed."
TWICE = "Unable to send response. Non-decoupled model cannot send more than one response."
SAID: dict[str, tuple[str, ...]] = {
    "finalize_raises": ("ValueError: told to fail in finalize",),
    "thread_raises": ("Exception in thread", "ValueError: invalid literal for int() with base 10: 'x'"),
    "execute_prints_a_lot": ("line 19999",),
    "decoupled_raises_after_final": ("ValueError: told to fail in execute",),
    "decoupled_sends_after_final": (f"nothing | TritonModelException: {CLOSED} | TritonModelException: {CLOSED}",),
    "decoupled_two_senders": (f"nothing | nothing | TritonModelException: {CLOSED} | TritonModelException: {CLOSED}",),
    "decoupled_reschedules_after_final": (
        "Request is released with TRITONSERVER_REQUEST_RELEASE_RESCHEDULE, while the model is not configured to handle "
        "such a flag.",
    ),
    "plain_sends_and_returns_a_response": (TWICE,),
    "plain_sends_twice": (f"nothing | TritonModelException: {TWICE} | TritonModelException: {TWICE} | nothing",),
    "plain_sends_final_first": (
        "TritonModelException: Unable to send response. Non-decoupled model cannot send complete final before sending "
        "a response. | nothing",
    ),
}
"""What the log says of it in the end."""


def steps() -> dict[str, list[AnyStep]]:
    found = {name: list(_of_load(name)) for name in AT_LOAD}
    found |= {name: list(around(name, _of_execute(name), _said(name))) for name in AT_EXECUTE}
    found |= {
        name: list(around(name, _of_stream(name), _said(name))) for name in {**WITH_SENDERS, **PLAIN_WITH_SENDERS}
    }
    return found


def _of_load(name: str) -> Iterator[AnyStep]:
    yield load("first", name)
    yield rpc(f"first: {name}", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name))
    yield state_of("failed", name)
    yield infer("failed", name)
    yield unload("last", name)
    yield settled(name)


def _of_execute(name: str) -> Iterator[AnyStep]:
    yield infer("first", name)
    if name not in CRASHES:
        yield call("second", name)
        yield state_of("after two", name)


def _of_stream(name: str) -> Iterator[AnyStep]:
    yield stream("first", request(name))
    if name in CRASHES:
        return
    message = request(name)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    yield stream("second, with empty final responses", message)
    if name in PLAIN_WITH_SENDERS:
        yield infer("third", name)
        yield call("fourth", name)


def _said(name: str) -> Iterator[AnyStep]:
    if name in SAID:
        yield logged("what was said", *SAID[name])
