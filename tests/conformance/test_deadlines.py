"""Deadlines over the wire: whoever waits or runs too long is answered when it is time, and holds up nobody else."""

import pytest
import tritonclient.grpc
from tests.conformance.gated import GatedServer
from tests.conformance.metrics import sample
from tests.conformance.process import ServerProcess, wait_until
from tritonclient.utils import InferenceServerException

BODY = b'{"id":"9","inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1],"data":[3]}]}'
LATE = "did not answer within the 300 ms that the request had"


def headers(seconds: str) -> dict[str, str]:
    return {"Atoll-Deadline-Seconds": seconds}


def test_a_running_and_a_waiting_request_are_answered_in_time(gated: GatedServer) -> None:
    with gated.closed("plain") as closed:
        before = sample(gated.process, "nv_inference_request_failure", model="plain", reason="CANCELED")
        running = closed.hold()[0]
        late = gated.process.exchange("POST", "/v2/models/plain/infer", body=BODY, headers=headers("0.3"))
        assert late.status == 504
        assert late.json() == {"error": f"[request id: 9] model 'plain' {LATE}"}
        closed.wait_queued(0)  # it does not wait until it would have run
        failures = sample(gated.process, "nv_inference_request_failure", model="plain", reason="CANCELED")
        assert failures == before + 1
        assert not running.done()
        closed.open()
        assert running.result().raw_output_contents
    in_time = gated.process.exchange("POST", "/v2/models/plain/infer", body=BODY, headers=headers("300"))
    assert in_time.json()["outputs"][0]["data"] == [3]


def test_a_models_own_deadline_holds_while_it_runs(gated: GatedServer) -> None:
    with gated.closed("limited") as closed:
        answer = gated.process.exchange("POST", "/v2/models/limited/infer", body=BODY)
        assert (answer.status, answer.json()) == (504, {"error": f"[request id: 9] model 'limited' {LATE}"})
        with (
            tritonclient.grpc.InferenceServerClient(gated.process.grpc) as client,
            pytest.raises(InferenceServerException, match=LATE) as raised,
        ):
            tensor = tritonclient.grpc.InferInput("INPUT0", [1], "INT32")
            tensor._raw_content = (3).to_bytes(4, "little")
            client.infer("limited", [tensor])
        assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        closed.open()
        wait_until(lambda: _answers(gated.process), "an answer of the model", gated.process)


def _answers(server: ServerProcess) -> bool:
    return server.exchange("POST", "/v2/models/limited/infer", body=BODY).status == 200


@pytest.mark.parametrize("text", ["0", "soon", "-1", "1e9", "10000000"])
def test_what_is_no_deadline_is_refused(gated: GatedServer, text: str) -> None:
    answer = gated.process.exchange("POST", "/v2/models/plain/infer", body=BODY, headers=headers(text))
    assert answer.status == 400
    wanted = "Atoll-Deadline-Seconds must be a number of seconds above 0 and up to 1000000, such as 0.5"
    assert answer.json() == {"error": wanted}
