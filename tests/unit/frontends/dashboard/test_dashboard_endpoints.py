"""GET /dashboard and /dashboard/data on a server: who may ask, under which policy, and where they are not."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conformance.wire import Exchange
from tests.unit.frontends.access.key_files import key_text, put

import atoll
from atoll.errors import InvalidArgumentError
from atoll.frontends.context import FrontendContext
from atoll.frontends.dashboard.sampler import Sampler
from atoll.frontends.http.asgi import asgi_app
from atoll.frontends.http.calling import call_endpoint
from atoll.frontends.http.exchange import Exchange as Exchanged
from atoll.frontends.http.head import interpret
from atoll.frontends.http.service import HttpService
from atoll.frontends.vertex_ai.endpoints import VertexAiEndpoints
from atoll.frontends.vertex_ai.environment import AipRoutes
from atoll.listener import Listener

MINE, CLIENT, OPS = "mine-".ljust(40, "x"), "client-".ljust(40, "x"), "ops-".ljust(40, "x")


def same(X: Any) -> dict[str, Any]:  # noqa: N803
    return {"Y": X}


@pytest.fixture(scope="module")
def server() -> Iterator[atoll.Server]:
    server = atoll.Server(model_control_mode="explicit")
    for name in ("mine", "yours"):
        server.add_model(name, same, inputs={"X": ("FP32", [1])}, outputs={"Y": ("FP32", [1])})
    with server:
        yield server


@pytest.fixture
def keys(tmp_path: Path) -> str:
    path = tmp_path / "keys.json"
    put(
        path,
        key_text(
            {"name": "mine", "key": MINE, "scopes": ["dashboard"], "models": ["mine"]},
            {"name": "client", "key": CLIENT},
            {"name": "ops", "key": OPS, "scopes": ["admin"]},
        ),
    )
    return str(path)


def listen(server: atoll.Server, **options: Any) -> Listener:
    return atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0, **options)


def ask(listener: Any, path: str = "/dashboard/data", method: str = "GET", **headers: str) -> Exchange:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange.ask("127.0.0.1", listener.http_port, method, path, headers=named)


def names(answer: Exchange) -> list[str]:
    assert answer.status == 200, answer.body
    return [row["name"] for row in answer.json()["models"]]


def test_the_page_may_run_its_own_script_and_nothing_else(server: atoll.Server) -> None:
    with listen(server) as listener:
        answer = ask(listener, "/dashboard")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    text = files("atoll.frontends.dashboard").joinpath("page.html").read_text()
    assert answer.body.decode() == text
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "dangerous", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style="]
)
def test_the_page_has_nothing_that_makes_markup_of_text(dangerous: str) -> None:
    assert dangerous not in files("atoll.frontends.dashboard").joinpath("page.html").read_text()


def test_the_page_names_no_other_host() -> None:
    text = files("atoll.frontends.dashboard").joinpath("page.html").read_text()
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_the_data(server: atoll.Server) -> None:
    with listen(server) as listener:
        answer = ask(listener)
        assert names(answer) == ["mine", "yours"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["control"] == {"explicit": True, "allowed": True, "header": ""}
        assert ask(listener, method="POST").status == 405


def test_off_there_is_neither(server: atoll.Server) -> None:
    with listen(server, allow_dashboard=False) as listener:
        assert [ask(listener, path).status for path in ("/dashboard", "/dashboard/data")] == [404, 404]


def test_all_event_loops_have_it(server: atoll.Server) -> None:
    with listen(server, http_thread_count=3) as listener:
        assert all(names(ask(listener)) == ["mine", "yours"] for _ in range(6))


def test_with_keys_the_page_is_open_and_its_data_is_not(server: atoll.Server, keys: str) -> None:
    with listen(server, api_key_file=keys) as listener:
        assert ask(listener, "/dashboard").status == 200
        assert ask(listener).status == 401
        assert ask(listener, Authorization="Bearer " + "wrong".ljust(40, "x")).status == 401
        refused = ask(listener, Authorization=f"Bearer {CLIENT}")
        assert (refused.status, refused.json()["error"]) == (
            403,
            "the API key 'client' does not have the scope 'dashboard'",
        )
        mine = ask(listener, X_Api_Key=MINE)
        assert names(mine) == ["mine"]
        assert mine.json()["machine"] is None
        assert mine.json()["control"]["allowed"] is False
        ops = ask(listener, Authorization=f"Bearer {OPS}")
        assert names(ops) == ["mine", "yours"]
        assert ops.json()["control"]["allowed"] is True


def test_an_exempt_dashboard_needs_no_key_but_its_actions_do(server: atoll.Server, keys: str) -> None:
    with listen(server, api_key_file=keys, api_key_exempt="health,dashboard") as listener:
        answer = ask(listener)
        assert names(answer) == ["mine", "yours"]
        assert answer.json()["control"]["allowed"] is False


@pytest.mark.parametrize("api", ["dashboard", "statistics"])
def test_it_can_be_restricted_and_is_where_statistics_are(server: atoll.Server, api: str) -> None:
    with listen(server, http_restricted_api=[f"{api}:X-Look=seen"]) as listener:
        assert ask(listener, "/dashboard").status == 200
        refused = ask(listener)
        assert (refused.status, refused.json()["error"]) == (
            403,
            "This API is restricted, expecting header 'X-Look'",
        )
        assert names(ask(listener, X_Look="seen")) == ["mine", "yours"]


def test_a_secret_of_its_own_takes_the_place_of_that_of_statistics(server: atoll.Server) -> None:
    restricted = ["statistics:X-Look=seen", "dashboard:X-Page=open"]
    with listen(server, http_restricted_api=restricted) as listener:
        assert ask(listener, X_Look="seen").status == 403
        assert names(ask(listener, X_Page="open")) == ["mine", "yours"]


def test_the_secret_of_the_repository_is_named_until_it_is_sent(server: atoll.Server) -> None:
    with listen(server, http_restricted_api=["model-repository:X-Change=done"]) as listener:
        assert ask(listener).json()["control"]["header"] == "X-Change"
        assert ask(listener, X_Change="done").json()["control"]["header"] == ""


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/dashboard/data"),
        ("POST", "/v2/repository/models/mine/unload"),
        ("POST", "/v2/repository/models/mine/load"),
        ("POST", "/v2/repository/index"),
    ],
)
def test_pages_of_others_can_neither_read_nor_do(server: atoll.Server, method: str, path: str, origin: str) -> None:
    with listen(server) as listener:
        refused = ask(listener, path, method, Origin=origin)
        here = f"127.0.0.1:{listener.http_port}"
        own = ask(listener, Origin=f"http://{here}", Host=here)
        rebound = ask(listener, path, method, Origin="http://evil.example:80", Host="evil.example:80")
    assert refused.status == 403
    assert "another origin" in refused.json()["error"]
    assert "access-control-allow-origin" not in refused.headers
    assert rebound.status == 403
    assert own.status == 200
    assert server.model_ready("mine")


def test_under_asgi(server: atoll.Server) -> None:
    async def asked(path: str, **options: Any) -> tuple[int, bytes]:
        app = asgi_app(server, **options)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        messages: asyncio.Queue[Any] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b""})
        scope = {"type": "http", "method": "GET", "path": "/in" + path, "root_path": "/in", "headers": []}
        await app(scope, messages.get, send)
        return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])

    status, page = asyncio.run(asked("/dashboard"))
    assert (status, page[:15]) == (200, b"<!DOCTYPE html>")
    status, data = asyncio.run(asked("/dashboard/data"))
    assert status == 200
    assert [row["name"] for row in json.loads(data)["models"]] == ["mine", "yours"]
    assert asyncio.run(asked("/dashboard", allow_dashboard=False))[0] == 404


def test_texts_that_are_not_unicode_do_not_break_it(server: atoll.Server) -> None:
    """A request's ID may be any bytes; so may what a model says."""
    strange = b"id-\xff".decode("utf-8", "surrogateescape")
    with pytest.raises(InvalidArgumentError):
        server.infer("mine", {"X": np.zeros(9, np.float32)}, request_id=strange)
    with listen(server) as listener:
        answer = ask(listener)
    assert answer.status == 200
    assert b'"request_id":"id-\xff"' in answer.body


class NobodyThere:
    """Carries no later answer: those here come at once."""


def test_a_hosting_services_port_does_not_lead_there(server: atoll.Server) -> None:
    async def redirected(target: str) -> int:
        loop = asyncio.get_running_loop()
        http = HttpService(server, loop, 1000, FrontendContext(server, dashboard=Sampler(server)))
        endpoints = VertexAiEndpoints(server, AipRoutes("/predict", "/health"), "mine", http, None)
        head = interpret(endpoints.routes, "POST", "/predict", [("x-vertex-ai-triton-redirect", target)])
        assert head.route is not None
        answer = call_endpoint(head.route, Exchanged(head, NobodyThere()), memoryview(b""))  # type: ignore[arg-type]
        endpoints.close()
        assert answer is not None
        return answer.status

    found = {one: asyncio.run(redirected(one)) for one in ("v2", "dashboard", "dashboard/data")}
    assert found == {"v2": 200, "dashboard": 400, "dashboard/data": 400}
