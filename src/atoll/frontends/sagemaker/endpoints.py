"""The endpoints of one event loop, in SageMaker's words; statuses and texts are those of the real server (2.51)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from atoll.errors import AtollError, Code, InternalError, InvalidArgumentError
from atoll.frontends.apis import Api
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.hosting.media_type import infer_head
from atoll.frontends.hosting.rewriting import rewritten
from atoll.frontends.hosting.table import HostingRoutes
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.calling import call_endpoint
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Endpoint, Route, RouteTable
from atoll.frontends.http.service import HttpService
from atoll.frontends.sagemaker.models import EndpointModels, NotLoadedError
from atoll.frontends.sagemaker.out_of_memory import says_out_of_memory
from atoll.protocol import json_text

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from atoll.server import Server

MEDIA_TYPE: Final = "application/vnd.sagemaker-triton.binary+json;json-header-size="
TARGET: Final = "x-amzn-sagemaker-target-model"
UNSPECIFIED: Final = "unspecified_SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"
INFERENCE_TYPES: Final = ("infer", "generate", "generate_stream")

PING, INVOCATIONS, MODELS = "/ping", "/invocations", "/models"
MODEL = MODELS + "/{model}"


@dataclass(frozen=True, slots=True)
class SageMakerSettings:
    """`model`: what /invocations runs. `live`: /ping says whether the server lives, rather than whether it is ready.
    `inference`: the endpoint of the HTTP frontend as which inference is meant.
    """

    model: str = UNSPECIFIED
    live: bool = False
    inference: str = "infer"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SageMakerSettings":
        """SAGEMAKER_TRITON_DEFAULT_MODEL_NAME, _PING_MODE and _INFERENCE_TYPE. Raises InvalidArgumentError."""
        mode = environment.get("SAGEMAKER_TRITON_PING_MODE", "ready")
        inference = environment.get("SAGEMAKER_TRITON_INFERENCE_TYPE", "infer")
        if mode not in ("live", "ready"):
            raise InvalidArgumentError(f"SAGEMAKER_TRITON_PING_MODE={mode}: expected live or ready")
        if inference not in INFERENCE_TYPES:
            choices = ", ".join(INFERENCE_TYPES)
            raise InvalidArgumentError(f"SAGEMAKER_TRITON_INFERENCE_TYPE={inference}: expected one of {choices}")
        model = environment.get("SAGEMAKER_TRITON_DEFAULT_MODEL_NAME", UNSPECIFIED)
        return cls(model=model, live=mode == "live", inference=inference)


class SageMakerEndpoints:
    """To be made on the loop's thread. `http`: the endpoints that run a model, on the same loop."""

    def __init__(
        self,
        server: "Server",
        loop: "AbstractEventLoop",
        settings: SageMakerSettings,
        models: EndpointModels,
        http: HttpService,
    ):
        self._server = server
        self._settings = settings
        self._models = models
        self._http = http
        self._infer = _endpoint(http, settings.inference)
        self._loads = BlockingCalls(loop, "SageMaker load")
        self._unloads = BlockingCalls(loop, "SageMaker unload")
        self.routes: RouteTable = HostingRoutes(
            self._table(), told={PING: "", INVOCATIONS: settings.model}, access=http.context.access
        )

    def _table(self) -> list[Route]:
        change = partial(Route, api=Api.MODEL_REPOSITORY, control=True)
        table = [
            Route("GET", PING, self.ping, Api.HEALTH, plain_errors=True),
            Route("POST", INVOCATIONS, self.invocations, Api.INFERENCE, plain_errors=True),
            Route("POST", MODEL + "/invoke", self.invoke, Api.INFERENCE, plain_errors=True),
        ]
        for path in (MODELS, MODELS + "/"):
            table += [change("GET", path, self.all_models), change("POST", path, self.load)]
            table.append(change("DELETE", path, self.unload))
        return [
            *table,
            change("GET", MODEL, self.model),
            change("POST", MODEL, self.load),
            change("DELETE", MODEL, self.unload),
        ]

    def close(self) -> None:
        """Load and unload nothing more; what has begun goes on."""
        self._loads.close()
        self._unloads.close()
        self._http.close()

    def ping(self, exchange: Exchange, body: memoryview) -> Answer:
        well = self._server.live() if self._settings.live else self._server.ready()
        return answers.empty(200 if well else 400)

    # ---- inference

    def invocations(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return self._run(exchange, body, self._settings.model, _with_media_type)

    def invoke(self, exchange: Exchange, body: memoryview) -> Answer | None:
        """SageMaker names the model twice: by a hash in the path, and in a header as its user calls it."""
        model = self._models.get(exchange.head.arguments["model"])
        if model is None:
            return answers.empty(404)
        served = _target(exchange) or model.served
        if exchange.head.key is not None:  # it may be for some models only, and the path does not name what is served
            exchange.head.key.check(Api.INFERENCE, served)
        return self._run(exchange, body, served, _of_a_multi_model_endpoint)

    def _run(
        self, exchange: Exchange, body: memoryview, model: str, rewrite: Callable[[Answer], Answer]
    ) -> Answer | None:
        head = infer_head(exchange.head, model, MEDIA_TYPE)
        assert head.route is not None, "only a routed request reaches an endpoint. This is a bug"
        head.route = route = replace(head.route, endpoint=self._infer)
        inner = rewritten(exchange, head, rewrite)
        answer = call_endpoint(route, inner, body)
        return None if answer is None else rewrite(answer)

    # ---- a multi-model endpoint's models

    def all_models(self, exchange: Exchange, body: memoryview) -> Answer:
        shown = [{"modelName": one.name, "modelUrl": one.url} for one in self._models.all()]
        return answers.document({"models": shown})

    def model(self, exchange: Exchange, body: memoryview) -> Answer:
        found = self._models.get(exchange.head.arguments["model"])
        if found is None:
            return answers.empty(404)
        return answers.document({"modelName": found.name, "modelUrl": found.url})

    def load(self, exchange: Exchange, body: memoryview) -> None:
        name, url = _members(body)
        self._change(exchange, self._loads, partial(self._models.load, name, url, _target(exchange)))

    def unload(self, exchange: Exchange, body: memoryview) -> None:
        self._change(exchange, self._unloads, partial(self._models.unload, exchange.head.arguments.get("model", "")))

    def _change(self, exchange: Exchange, calls: BlockingCalls, work: Callable[[], None]) -> None:
        def take(result: None, error: AtollError | None) -> None:
            exchange.answer(answers.empty() if error is None else _refusal(error))

        exchange.on_gone = calls.submit(work, take).cancel


def _endpoint(http: HttpService, inference: str) -> Endpoint:
    found = http.routes.find(f"/v2/models/any/{inference}")
    assert found is not None, "HTTP has each of the inference types. This is a bug"
    return found.methods["POST"].endpoint


def _target(exchange: Exchange) -> str:
    return next((value for name, value in exchange.head.headers if name == TARGET), "")


def _members(body: memoryview) -> tuple[str, str]:
    try:
        document = json_text.parse(body) if len(body) else {}
    except InternalError as error:
        raise InvalidArgumentError(str(error)) from None
    if not isinstance(document, dict):
        document = {}
    found = []
    for key in ("model_name", "url"):
        value = document.get(key, "")
        if not isinstance(value, str):
            raise InvalidArgumentError(f"'{key}' must be a string")
        found.append(value)
    return found[0], found[1]


def _refusal(error: AtollError) -> Answer:
    if isinstance(error, NotLoadedError):
        return answers.empty(404)
    if error.code is Code.ALREADY_EXISTS:
        return answers.refusal(409, str(error))
    return answers.refusal(507 if says_out_of_memory(str(error)) else 400, str(error))


def _with_media_type(answer: Answer) -> Answer:
    """What tells the JSON's length goes into the Content-Type, as other headers do not reach the caller."""
    if b"Inference-Header-Content-Length" in answer.headers:
        answer.headers = b"Content-Type: %s%d\r\n" % (MEDIA_TYPE.encode(), len(answer.parts[0]))
    return answer


def _of_a_multi_model_endpoint(answer: Answer) -> Answer:
    if answer.status == 200:
        return _with_media_type(answer)
    text = b"".join(answer.parts).decode("utf-8", "replace")
    answer.status = 507 if says_out_of_memory(text) else 400
    return answer
