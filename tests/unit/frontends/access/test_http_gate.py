"""The gate of HTTP: what is decided when a head is read, and when that is forgotten."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.frontends.access.key_files import key_text, put

from atoll.errors import RateLimitedError
from atoll.frontends.access.cors import cors_from_values
from atoll.frontends.access.http_gate import HttpGate
from atoll.frontends.access.keyring import KeyRing
from atoll.frontends.access.restrictions import http_restrictions
from atoll.frontends.apis import Api
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import HeadParser, RequestHead
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.routes import Route, RouteTable

PAGE = "https://page.example"
KEYS = (
    {"name": "all", "key": "key-all"},
    {"name": "admin", "key": "key-admin", "scopes": ["admin"]},
    {"name": "some", "key": "key-some", "models": ["re*", "b[12]"], "scopes": ["admin"]},
    {"name": "slow", "key": "key-slow", "requests_per_second": 0.001, "burst": 2},
    {"name": "metrics", "key": "key-metrics", "scopes": ["metrics"]},
)


def _answer(exchange: Exchange, body: memoryview) -> Answer:
    return Answer(200, [])


ROUTES = (
    Route("GET", "/v2", _answer, Api.METADATA),
    Route("GET", "/v2/health/live", _answer, Api.HEALTH, plain_errors=True),
    Route("GET", "/v2/models/{model}/ready", _answer, Api.HEALTH, plain_errors=True),
    Route("GET", "/v2/models/stats", _answer, Api.STATISTICS),
    Route("GET", "/v2/models/{model}", _answer, Api.METADATA),
    Route("POST", "/v2/models/{model}/infer", _answer, Api.INFERENCE, plain_errors=True),
    Route("POST", "/v2/repository/index", _answer, Api.MODEL_REPOSITORY, control=True),
    Route("POST", "/v2/repository/models/{model}/load", _answer, Api.MODEL_REPOSITORY, control=True),
    Route("GET", "/v2/trace/setting", _answer, Api.TRACE),
    Route("POST", "/v2/trace/setting", _answer, Api.TRACE),
    Route("GET", "/v2/models/{model}/trace/setting", _answer, Api.TRACE),
    Route("GET", "/v2/logging", _answer, Api.LOGGING),
    Route("GET", "/v2/systemsharedmemory/status", _answer, Api.SHARED_MEMORY),
    Route("POST", "/invocations", _answer, Api.INFERENCE),
    Route("GET", "/metrics", _answer, Api.METRICS, plain_errors=True),
)

Ask = Callable[..., RequestHead]


def head_text(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: atoll:8000", *headers, "", "")).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    put(tmp_path / "keys", key_text(*KEYS))
    return tmp_path / "keys"


@pytest.fixture
def ring(path: Path) -> KeyRing:
    return KeyRing(str(path))


def parser_of(gate: HttpGate) -> HeadParser:
    return HeadParser(RouteTable(ROUTES, gate), ConnectionLimits())


@pytest.fixture
def ask(ring: KeyRing) -> Ask:
    parser = parser_of(HttpGate({}, ring, frozenset((Api.HEALTH,))))
    return lambda *words: parser.parse(head_text(*words))


def status(head: RequestHead) -> int:
    if head.refusal is not None:
        return head.refusal.status
    assert head.route is not None
    return 200


def text(head: RequestHead) -> str:
    assert head.refusal is not None
    return b"".join(bytes(one) for one in head.refusal.parts).decode()


def test_a_key_is_asked_for(ask: Ask) -> None:
    head = ask("GET", "/v2")
    assert status(head) == 401
    assert head.refusal is not None
    assert b"WWW-Authenticate: Bearer\r\n" in head.refusal.headers
    assert head.stranger
    assert head.key is None


def test_health_is_exempt(ask: Ask) -> None:
    assert status(ask("GET", "/v2/health/live")) == 200
    assert status(ask("GET", "/v2/health/live", "X-Api-Key: nonsense")) == 200


def test_whether_a_model_is_ready_and_so_there_is_not(ask: Ask) -> None:
    assert status(ask("GET", "/v2/models/resnet/ready")) == 401
    for model, expected in (("resnet", 200), ("other", 403)):
        assert status(ask("GET", f"/v2/models/{model}/ready", "X-Api-Key: key-some")) == expected


def test_heads_that_lead_nowhere_do_not_drive_out_remembered_ones() -> None:
    parser = HeadParser(RouteTable(ROUTES), ConnectionLimits(), remembered=4)
    known = parser.parse(b"GET /v2/health/live HTTP/1.1\r\n\r\n")
    for number in range(10):
        assert parser.parse(b"GET /nowhere/%d HTTP/1.1\r\n\r\n" % number).refusal is not None
        assert parser.parse(b"GET /v2/health/live HTTP/1.1\r\nX %d\r\n\r\n" % number).malformed
    assert parser.parse(b"GET /v2/health/live HTTP/1.1\r\n\r\n") is known


def test_strangers_do_not_drive_out_remembered_heads(ring: KeyRing) -> None:
    parser = HeadParser(RouteTable(ROUTES, HttpGate({}, ring)), ConnectionLimits(), remembered=4)
    data = head_text("GET", "/v2", "X-Api-Key: key-all")
    known = parser.parse(data)
    for number in range(10):
        assert status(parser.parse(head_text("GET", "/v2", f"X-Api-Key: guess{number}"))) == 401
    assert parser.parse(data) is known


def test_the_key_stands_in_the_head(ask: Ask) -> None:
    for form in ("X-Api-Key: key-all", "x-API-key:key-all", "Authorization: Bearer key-all"):
        head = ask("GET", "/v2", form)
        assert status(head) == 200
        assert head.key is not None
        assert head.key.name == "all"
        assert not head.stranger


@pytest.mark.parametrize(
    ("key", "method", "target", "expected"),
    [
        ("all", "POST", "/v2/models/any/infer", 200),
        ("all", "GET", "/v2/models/stats", 200),
        ("all", "POST", "/v2/repository/index", 403),
        ("all", "GET", "/v2/logging", 403),
        ("all", "GET", "/metrics", 403),
        ("all", "GET", "/v2/systemsharedmemory/status", 403),
        ("admin", "POST", "/v2/repository/models/any/load", 200),
        ("admin", "GET", "/metrics", 200),
        ("admin", "POST", "/invocations", 200),
        ("metrics", "GET", "/metrics", 200),
        ("metrics", "GET", "/v2", 403),
        # some models only
        ("some", "GET", "/v2", 200),
        ("some", "POST", "/v2/models/resnet/infer", 200),
        ("some", "POST", "/v2/models/b1/infer", 200),
        ("some", "POST", "/v2/models/b3/infer", 403),
        ("some", "POST", "/v2/models/RESNET/infer", 403),
        ("some", "POST", "/v2/models/xre/infer", 403),
        ("some", "POST", "/v2/models/%72esnet/infer", 403),  # escapes stay as they are, for the endpoint too
        ("some", "GET", "/v2/models/other", 403),
        ("some", "POST", "/v2/repository/models/other/load", 403),
        ("some", "POST", "/v2/repository/models/resnet/load", 200),
        ("some", "GET", "/v2/models/stats", 200),
        ("some", "POST", "/v2/repository/index", 200),
        ("some", "GET", "/v2/systemsharedmemory/status", 200),
        ("some", "GET", "/v2/models/resnet/trace/setting", 200),
        ("some", "GET", "/v2/models/other/trace/setting", 403),
        ("some", "GET", "/v2/trace/setting", 403),
        ("some", "GET", "/v2/logging", 403),
        ("some", "GET", "/metrics", 403),
        ("some", "POST", "/invocations", 403),  # whose model nobody knows yet
        # wrong method and nowhere
        ("all", "DELETE", "/v2", 405),
        ("some", "DELETE", "/v2/models/other", 403),
        ("all", "GET", "/nowhere", 404),
    ],
)
def test_what_a_key_opens(ask: Ask, key: str, method: str, target: str, expected: int) -> None:
    assert status(ask(method, target, f"X-Api-Key: key-{key}")) == expected


@pytest.mark.parametrize(
    ("key", "method", "target", "expected"),
    [
        ("some", "POST", "/v2/models/resnet/infer", 200),
        ("some", "POST", "/v2/models/other/infer", 403),
        ("some", "POST", "/v2/repository/models/resnet/load", 403),  # what is loaded stands in the body
        ("some", "POST", "/v2/repository/index", 403),  # where nothing is left out
        ("admin", "POST", "/v2/repository/models/resnet/load", 200),
        ("admin", "POST", "/v2/repository/index", 200),
    ],
)
def test_what_a_key_opens_at_a_hosting_service(
    ring: KeyRing, key: str, method: str, target: str, expected: int
) -> None:
    parser = parser_of(HttpGate({}, ring, hosted=True))
    assert status(parser.parse(head_text(method, target, f"X-Api-Key: key-{key}"))) == expected


def test_a_model_that_is_not_ones_own_may_be_there_or_not(ask: Ask) -> None:
    told = [text(ask("GET", f"/v2/models/{name}", "X-Api-Key: key-some")) for name in ("there", "gone!")]
    assert told[0].replace("there", "gone!") == told[1]


def test_no_refusal_repeats_a_key(ask: Ask) -> None:
    for words in (("X-Api-Key: key-unknown",), ("X-Api-Key: key-all", "X-Api-Key: key-admin"), ("X-Api-Key: key-a b",)):
        assert "key-" not in text(ask("GET", "/v2", *words))
    assert "key-all" not in text(ask("GET", "/v2/logging", "X-Api-Key: key-all"))


def test_requests_with_a_remembered_head_count_each(ask: Ask) -> None:
    heads = [ask("GET", "/v2", "X-Api-Key: key-slow") for _ in range(3)]
    assert heads[0] is heads[2]
    route = heads[0].route
    assert route is not None
    exchange: Any = None
    assert [route.endpoint(exchange, memoryview(b"")).status for _ in range(2)] == [200, 200]  # type: ignore[union-attr]
    with pytest.raises(RateLimitedError):
        route.endpoint(exchange, memoryview(b""))


def test_a_key_without_a_rate_costs_a_request_nothing(ask: Ask) -> None:
    assert ask("GET", "/v2", "X-Api-Key: key-all").route in ROUTES


def test_remembered_heads_are_forgotten_when_the_keys_change(ask: Ask, ring: KeyRing, path: Path) -> None:
    words = ("GET", "/v2", "X-Api-Key: key-all")
    assert status(ask(*words)) == 200
    put(path, key_text(KEYS[1]))
    ring.check()
    ring.check()
    assert status(ask(*words)) == 401
    put(path, key_text(*KEYS))
    ring.check()
    ring.check()
    assert status(ask(*words)) == 200


def test_a_head_that_is_read_while_the_keys_change_is_not_remembered(ring: KeyRing, path: Path) -> None:
    gate = HttpGate({}, ring)
    parser = parser_of(gate)
    examine = gate.examine

    def slow(*arguments: Any) -> Answer | None:
        found = examine(*arguments)
        gate.examine = examine  # type: ignore[method-assign]
        put(path, key_text(KEYS[1]))
        ring.check()
        ring.check()
        return found

    gate.examine = slow  # type: ignore[method-assign]
    data = head_text("GET", "/v2", "X-Api-Key: key-all")
    assert status(parser.parse(data)) == 200, "it was read before the change"
    assert status(parser.parse(data)) == 401


def test_a_restriction_and_a_key_are_both_asked_for(ring: KeyRing) -> None:
    parser = parser_of(HttpGate(http_restrictions(["metadata:X-Secret=s"]), ring))
    answers = [
        status(parser.parse(head_text("GET", "/v2", *headers)))
        for headers in ((), ("X-Secret: s",), ("X-Api-Key: key-all",), ("X-Secret: s", "X-Api-Key: key-all"))
    ]
    assert answers == [401, 401, 403, 200]


# ---- CORS


def cors_gate(*origins: str, ring: KeyRing | None = None) -> HttpGate:
    values = {
        "cors_allow_origin": list(origins),
        "cors_allow_headers": "",
        "cors_allow_methods": "GET,POST",
        "cors_max_age": 5,
    }
    return HttpGate({}, ring, frozenset(), cors_from_values(values))


PREFLIGHT = (f"Origin: {PAGE}", "Access-Control-Request-Method: POST")


def test_a_preflight_needs_no_key(ring: KeyRing) -> None:
    head = parser_of(cors_gate(PAGE, ring=ring)).parse(head_text("OPTIONS", "/v2/models/m/infer", *PREFLIGHT))
    assert status(head) == 200
    assert head.refusal is not None
    assert b"Access-Control-Allow-Methods: POST\r\n" in head.refusal.headers
    assert f"Access-Control-Allow-Origin: {PAGE}\r\n".encode() in head.answer_headers


def test_refusals_can_be_read_by_pages_too(ring: KeyRing) -> None:
    head = parser_of(cors_gate(PAGE, ring=ring)).parse(head_text("GET", "/v2", f"Origin: {PAGE}"))
    assert status(head) == 401
    assert f"Access-Control-Allow-Origin: {PAGE}\r\n".encode() in head.answer_headers


@pytest.mark.parametrize(
    "headers", [(), (f"Origin: {PAGE}",), ("Access-Control-Request-Method: POST",)], ids=["", "origin", "method"]
)
def test_other_options_requests_stay_wrong(headers: tuple[str, ...]) -> None:
    assert status(parser_of(cors_gate(PAGE)).parse(head_text("OPTIONS", "/v2", *headers))) == 405


def test_without_cors_a_preflight_is_a_wrong_method() -> None:
    parser = HeadParser(RouteTable(ROUTES), ConnectionLimits())
    head = parser.parse(head_text("OPTIONS", "/v2", *PREFLIGHT))
    assert status(head) == 405
    assert head.answer_headers == b""


@pytest.mark.parametrize(("origins", "expected"), [((), 403), (("*",), 403), ((PAGE,), 200), (("*", PAGE), 200)])
def test_control_endpoints_are_for_pages_that_are_named(origins: tuple[str, ...], expected: int) -> None:
    gate = cors_gate(*origins) if origins else HttpGate(http_restrictions(["trace:k=v"]))
    head = parser_of(gate).parse(head_text("POST", "/v2/repository/index", f"Origin: {PAGE}"))
    assert status(head) == expected


def test_a_page_that_is_named_may_still_be_refused_for_something_else() -> None:
    head = parser_of(cors_gate(PAGE)).parse(
        head_text("POST", "/v2/repository/index", f"Origin: {PAGE}", "Atoll-Deadline-Seconds: never")
    )
    assert status(head) == 400
