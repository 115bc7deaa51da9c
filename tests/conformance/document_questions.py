"""Questions about documents, paths and methods: everything over HTTP but inference."""

from collections.abc import Iterator

from tests.conformance.questions import Question, ask, get, request

HUGE = "99999999999999999999"


def questions() -> Iterator[Question]:
    yield from _documents()
    yield from _paths()
    yield from _methods()


def _documents() -> Iterator[Question]:
    yield get("/v2")
    for path in ("live", "ready"):
        yield get(f"/v2/health/{path}")
    for model in ("simple", "simple_nobatch", "two_versions", "matrix", "identity_bytes", "preferred", "nope"):
        for suffix in ("", "/ready", "/config", "/stats"):
            yield get(f"/v2/models/{model}{suffix}")
    for version in ("1", "2", "3", "01", "x", "-1", "1x", "0", HUGE):
        for suffix in ("", "/ready", "/config", "/stats"):
            yield get(f"/v2/models/two_versions/versions/{version}{suffix}")
    yield get("/v2/models/nope/versions/1")
    yield get("/v2/models/nope/versions/1/stats")
    yield get("/v2/models/stats")
    for body in ("", "{}", '{"ready":true}', '{"ready":false}', '{"ready":1}', '{"ready":null}', "[]", "{"):
        yield ask(f"repository index: {body}", body, "/v2/repository/index")
    yield get("/v2/repository/index")


def _paths() -> Iterator[Question]:
    for path in (
        *("/", "/v1/models", "/metrics", "/v2/", "//v2", "/V2", "/v2?x=1", "/v2/health", "/v2/health/live/"),
        *("/v2/health/ready?a=b", "/v2/models", "/v2/models/", "/v2/models/simple/", "/v2/models/simple/nope"),
        *("/v2/models/simple/versions", "/v2/models/simple/versions/", "/v2/models/simple/ready/", "/v2/models/a/b/c"),
        *("/v2/models/sim%70le", "/v2/models/a%2Fb", "/v2/models/simple?x", "/v2/models/simple/stats?x=1"),
    ):
        yield get(path)
    for path in (
        *("/v2/models/nope/infer", "/v2/models/nope/versions/1/infer", "/v2/models//infer"),
        *("/v2/models/simple/versions/7/infer", "/v2/models/simple/versions/0/infer"),
        *(f"/v2/models/simple/versions/{HUGE}/infer", "/v2/models/simple/versions/9223372036854775807/infer"),
        *("/v2/models/simple/versions/x/infer", "/v2/models/simple/versions/1/infer", "/v2/models/simple/infer/"),
        *("/v2/models/simple/infer?x=1", "/v2/models/%73imple/infer"),
    ):
        yield ask(f"infer at {path}", request(), path)
    yield ask("half a document to an unknown model", "{", "/v2/models/nope/infer")


def _methods() -> Iterator[Question]:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        for path in (
            "/v2",
            "/v2/health/ready",
            "/v2/models/simple",
            "/v2/models/simple/ready",
            "/v2/models/stats",
            "/nope",
        ):
            body = b"" if method in ("POST", "PUT", "PATCH") else None
            yield Question(f"{method} {path}", path, body, method)
    for method in ("GET", "PUT", "DELETE"):
        yield Question(f"{method} infer", "/v2/models/simple/infer", None, method)
