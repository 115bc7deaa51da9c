"""The comparison itself: it must find what it is there to find."""

from typing import Any

from tests.conformance.comparing import grpc_differences, http_differences


def answer(body: str, status: int = 200, content_type: str = "application/json") -> dict[str, Any]:
    return {"status": status, "headers": {"content-type": content_type}, "body": body}


def test_a_status_an_error_text_and_a_body_are_compared() -> None:
    error = answer('{"error":"no such thing"}', 404)
    assert http_differences(error, error) == []
    assert http_differences(error, answer('{"error":"no such thing"}', 400))
    assert http_differences(error, answer('{"error":"no such"}', 404))
    assert http_differences(error, answer("no such thing", 404))
    assert http_differences(answer('{"model_name":"m"}'), answer('{"model_name":"n"}'))
    assert http_differences(answer('{"model_name":"m","id":"1"}'), answer('{"id":"1","model_name":"m"}'))
    assert http_differences(answer('{"model_name":"m"}'), answer('{"model_name":"m"}', content_type="text/plain"))
    assert http_differences(answer('{"name":"m"}'), answer('{"name":"n"}'))


def test_what_may_differ_may_differ() -> None:
    error = answer('{"error":"no such thing"}', 404)
    assert http_differences(error, answer('{"error":"x: no such thing, do this"}', 404, "text/plain")) == []
    assert http_differences(answer('{"name":"m","platform":"a"}'), answer('{"platform":"b","name":"m"}')) == []
    assert http_differences(answer('{"model_name":1e30}'), answer('{"model_name":1e+30}')) == []
    assert http_differences(answer('{"model_name":[NaN]}'), answer('{"model_name":[NaN]}')) == []
    assert http_differences(answer("", content_type="text/plain"), {"status": 200, "headers": {}, "body": ""}) == []


def test_statistics_are_compared_by_shape() -> None:
    def statistics(count: int, name: str = "m", more: str = "") -> dict[str, Any]:
        return answer(
            f'{{"model_stats":[{{"name":"{name}","inference_count":{count},"batch_stats":[],"queue":{{"ns":{count}}}{more}}}]}}'
        )

    assert http_differences(statistics(0), statistics(7)) == []
    assert http_differences(statistics(0), statistics(0, "n"))
    assert http_differences(statistics(0), statistics(0, more=',"x":{}'))


def test_grpc_answers_are_compared() -> None:
    def reply(status: str = "OK", details: str = "", *messages: dict[str, Any]) -> dict[str, Any]:
        return {"status": status, "details": details, "metadata": [], "messages": list(messages)}

    assert grpc_differences(reply("OK", "", {"id": "a"}), reply("OK", "", {"id": "a"})) == []
    assert grpc_differences(reply("OK", "", {"id": "a"}), reply("OK", "", {"id": "b"}))
    assert grpc_differences(reply("OK"), reply("OK", "", {"id": "b"}))
    assert grpc_differences(reply("INTERNAL", "why"), reply("INTERNAL", "what"))
    assert grpc_differences(reply("INTERNAL", "why"), reply("UNKNOWN", "why"))
    assert grpc_differences(reply("INTERNAL", "why"), reply("INTERNAL", "that is why")) == []
    said, more = reply("OK", "", {"error_message": "why"}), reply("OK", "", {"error_message": "that is why"})
    assert grpc_differences(said, more) == []
    assert grpc_differences(more, said)


def test_the_bytes_behind_a_document_are_compared() -> None:
    def binary(text: str, data: str) -> dict[str, Any]:
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(text))}
        return {"status": 200, "headers": headers, "body": text + data}

    first = binary('{"model_name":1.0}', "xyz")
    assert http_differences(first, first) == []
    assert http_differences(first, binary('{"model_name":1.00}', "xyz")) == []
    assert http_differences(first, binary('{"model_name":1.0}', "xyy"))
    assert http_differences(first, binary('{"model_name":1.0}', "xy"))
