"""One script written for the in-process Python API, run inside the real server and inside ours: what it sees.

Knows only the API it is handed and the folder of models; imports nothing of either server.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

ADD = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        out = []
        for r in requests:
            a = pb_utils.get_input_tensor_by_name(r, "IN").as_numpy()
            out.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", a + a)]))
        return out
"""
TEXT = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        out = []
        for r in requests:
            a = pb_utils.get_input_tensor_by_name(r, "IN").as_numpy()
            if a.ravel()[0] == b"fail":
                out.append(pb_utils.InferenceResponse(error=pb_utils.TritonError("asked to fail")))
                continue
            upper = np.array([x.upper() for x in a.ravel()], object).reshape(a.shape)
            out.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", upper)]))
        return out
"""
COUNT = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        for r in requests:
            n = int(pb_utils.get_input_tensor_by_name(r, "IN").as_numpy().ravel()[0])
            sender = r.get_response_sender()
            for i in range(abs(n)):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([i], np.int32))]))
            if n < 0:
                failure = pb_utils.InferenceResponse(error=pb_utils.TritonError("asked to fail"))
                sender.send(failure, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            else:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""


def _config(name, kind, *, batch=0, dims="[ -1 ]", more=""):
    return (
        (f'name: "{name}"\n' if name else "")
        + f'backend: "python"\nmax_batch_size: {batch}\n'
        + f'input [{{ name: "IN" data_type: {kind} dims: {dims} }}]\n'
        + f'output [{{ name: "OUT" data_type: {kind} dims: {dims} }}]\n{more}'
    )


def write_model(folder: Path, config: str, code: str) -> None:
    """A model with one version."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    (folder / "1" / "model.py").write_text(code)


def write_models(folder: Path) -> None:
    """Two repositories: the models that are served from the start, and those that are registered."""
    decoupled = "model_transaction_policy { decoupled: true }\n"
    write_model(folder / "first" / "add", _config("add", "TYPE_INT32", batch=4), ADD)
    write_model(folder / "first" / "text", _config("text", "TYPE_STRING"), TEXT)
    write_model(folder / "first" / "count", _config("count", "TYPE_INT32", more=decoupled), COUNT)
    write_model(folder / "second" / "extra", _config("", "TYPE_INT32"), ADD)
    write_model(folder / "second" / "named", _config("named", "TYPE_INT32"), ADD)
    write_model(folder / "clash" / "add", _config("add", "TYPE_INT32", batch=4), ADD)


class Asking:
    """Notes what each question is answered, in order."""

    def __init__(self, api):
        self.api = api
        self.answers = {}

    def ask(self, question, function):
        """The answer, or the error's class and text."""
        try:
            answer = _plain(function())
        except self.api.TritonError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        assert question not in self.answers, question
        self.answers[question] = answer


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (str, float, bool)) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    return type(value).__name__


def _models(models):
    return sorted([key[0], int(key[1]), one.state or "", one.reason or ""] for key, one in dict(models).items())


def _responses(responses):
    return [_response(one) for one in responses]


def _response(one):
    seen = {"final": one.final}
    if one.error is not None:
        seen["error"] = [type(one.error).__name__, str(one.error)]
    if one.request_id and (one.outputs or one.error is not None):  # what ends a stream says nothing
        seen["id"] = one.request_id
    for name, tensor in one.outputs.items():
        if tensor.data_type.name == "BYTES":
            values = [item.decode() for item in tensor.to_bytes_array().ravel()]
        else:
            values = (tensor.numpy() if hasattr(tensor, "numpy") else np.from_dlpack(tensor)).ravel().tolist()
        seen[name] = [tensor.data_type.name, list(tensor.shape), tensor.size, values]
    return seen


def run(api, folder: Path):
    """All that is asked, with its answers."""
    write_models(folder)
    asking = Asking(api)
    _started_models(asking, folder)
    _explicit(asking, folder)
    _polled(asking, folder)
    _refused_starts(asking, folder)
    return json.loads(json.dumps(asking.answers).replace(str(folder), "FOLDER"))


def _started_models(asking, folder):
    ask = asking.ask
    server = asking.api.Server(model_repository=str(folder / "first"), server_id="me")
    ask("start", lambda: server.start(wait_until_ready=True) is server)
    ask("live", server.live)
    ask("ready", server.ready)
    ask("metadata: its name and keys", lambda: [server.metadata()["name"], sorted(server.metadata())])
    ask("models", lambda: _models(server.models()))
    ask("models that are ready", lambda: _models(server.models(exclude_not_ready=True)))
    add, text, count = (server.model(name) for name in ("add", "text", "count"))
    for model in (add, count):
        ask(f"{model.name}: metadata", model.metadata)
        ask(f"{model.name}: ready", model.ready)
        ask(f"{model.name}: batch properties", model.batch_properties)
        ask(f"{model.name}: transaction properties", model.transaction_properties)
    ask("add: config", add.config)
    ask("add: config of version 2", lambda: add.config(config_version=2))
    ask("add: statistics' keys", lambda: [sorted(one) for one in add.statistics()["model_stats"]])
    unknown, version = server.model("nothing"), server.model("add", 7)
    for model, what in ((unknown, "unknown"), (version, "unknown version")):
        ask(f"{what}: ready", model.ready)
        ask(f"{what}: metadata", model.metadata)
        ask(f"{what}: config", model.config)
        ask(f"{what}: statistics", model.statistics)
        ask(f"{what}: batch properties", model.batch_properties)
        ask(f"{what}: transaction properties", model.transaction_properties)
        ask(f"{what}: infer", lambda m=model: _responses(m.infer(inputs={"IN": np.ones((1, 2), np.int32)})))
    one = np.arange(3, dtype=np.int32)
    ask("infer", lambda: _responses(add.infer(inputs={"IN": one.reshape(1, 3)}, request_id="r1")))
    ask("infer: too large a batch", lambda: _responses(add.infer(inputs={"IN": np.ones((5, 1), np.int32)})))
    ask("infer: wrong type", lambda: _responses(add.infer(inputs={"IN": np.ones((1, 1), np.float32)})))
    ask("infer: wrong name", lambda: _responses(add.infer(inputs={"NO": one.reshape(1, 3)})))
    ask("infer: no inputs", lambda: _responses(add.infer(inputs={})))
    ask("infer: empty", lambda: _responses(add.infer(inputs={"IN": np.zeros((1, 0), np.int32)})))
    ask(
        "infer: parameters",
        lambda: _responses(
            add.infer(inputs={"IN": one.reshape(1, 3)}, parameters={"a": 1, "b": "x", "c": True, "d": 0.5})
        ),
    )
    ask(
        "infer: priority and timeout",
        lambda: _responses(add.infer(inputs={"IN": one.reshape(1, 3)}, priority=3, timeout=5_000_000)),
    )
    ask(
        "infer: sequence flags, no sequences",
        lambda: _responses(add.infer(inputs={"IN": one.reshape(1, 3)}, flags=3, correlation_id=9)),
    )
    ask(
        "infer: correlation id in letters",
        lambda: _responses(add.infer(inputs={"IN": one.reshape(1, 3)}, flags=1, correlation_id="nine")),
    )
    words = np.array([b"one", b"", "gr\u00fcn".encode()], object)
    ask("strings", lambda: _responses(text.infer(inputs={"IN": words})))
    ask("failing", lambda: _responses(text.infer(inputs={"IN": np.array([b"fail"], object)})))
    ask(
        "failing, not raised",
        lambda: _responses(
            text.infer(inputs={"IN": np.array([b"fail"], object)}, raise_on_error=False, request_id="r2")
        ),
    )
    for number in (2, 0, -1):
        ask(
            f"decoupled {number}",
            lambda n=number: _responses(
                count.infer(inputs={"IN": np.array([n], np.int32)}, raise_on_error=False, request_id="r3")
            ),
        )
    ask("load without explicit", lambda: server.load("add").name)
    ask("unload without explicit", lambda: server.unload("add"))
    ask("register without explicit", lambda: server.register_model_repository(str(folder / "second")))
    ask("unregister without explicit", lambda: server.unregister_model_repository(str(folder / "first")))
    ask("poll without polling", server.poll_model_repository)
    kind = asking.api.MetricKind
    families = []

    def family(*arguments):
        families.append(asking.api.MetricFamily(*arguments))
        return "made"

    ask("metric family", lambda: family(kind.COUNTER, "in_process_counter", "counts"))
    counter = families[0].create_metric({"who": "me"})
    ask("metric value", lambda: counter.value)
    ask("metric increment", lambda: [counter.increment(2.5), counter.value])
    ask("metric decrement of a counter", lambda: counter.increment(-1))
    ask("metric set of a counter", lambda: counter.set_value(7))
    ask("metric family twice", lambda: family(kind.COUNTER, "in_process_counter", "counts"))
    ask("metric family, other kind", lambda: family(kind.GAUGE, "in_process_counter", "counts"))
    ask("metric family, impossible name", lambda: family(kind.GAUGE, "in process", "counts"))
    ask("metric label, impossible name", lambda: families[0].create_metric({"a b": "me"}) and "made")
    gauge = asking.api.MetricFamily(kind.GAUGE, "in_process_gauge", "goes both ways").create_metric()
    ask("gauge", lambda: [gauge.set_value(7), gauge.increment(-2), gauge.value])
    ask("metrics page", lambda: [line for line in server.metrics().splitlines() if "in_process_" in line])
    ask("stop", server.stop)


def _explicit(asking, folder):
    ask = asking.ask
    server = asking.api.Server(
        model_repository=str(folder / "first"),
        model_control_mode=asking.api.ModelControlMode.EXPLICIT,
        startup_models=["add"],
    )
    second = str(folder / "second")
    server.start(wait_until_ready=True)
    ask("explicit: models", lambda: _models(server.models()))
    ask("explicit: load", lambda: _loaded(server.load("text")))
    ask("explicit: load unknown", lambda: server.load("nothing"))
    ask("explicit: load with config", lambda: _loaded(server.load("text", {"config": json.dumps(TEXT_CONFIG)})))
    ask("explicit: configured", lambda: server.model("text").config()["parameters"])
    ask("explicit: load with unknown parameter", lambda: server.load("text", {"other": "x"}))
    files = {"config": json.dumps(TEXT_CONFIG), "file:1/model.py": TEXT.encode()}
    ask("explicit: load with files", lambda: _loaded(server.load("made", files)))
    ask("explicit: unload", lambda: server.unload("text", wait_until_unloaded=True))
    ask("explicit: after unload", lambda: [line for line in _models(server.models()) if line[0] == "text"])
    ask("explicit: unload unknown", lambda: server.unload("nothing"))
    ask("register: before", lambda: server.load("extra"))
    ask("register", lambda: server.register_model_repository(second))
    ask("register: again", lambda: server.register_model_repository(second))
    ask("register: models", lambda: [line[0] for line in _models(server.models())])
    ask("register: load", lambda: _loaded(server.load("extra")))
    ask("register: missing folder", lambda: server.register_model_repository(str(folder / "missing")))
    ask("register: a clash", lambda: server.register_model_repository(str(folder / "clash")))
    ask("register: load of a clash", lambda: server.load("add"))
    ask("register: the clash goes", lambda: server.unregister_model_repository(str(folder / "clash")))
    ask("unregister", lambda: server.unregister_model_repository(second))
    ask("unregister: its model", lambda: server.model("extra").ready())
    ask("unregister: models", lambda: sorted({line[0] for line in _models(server.models(exclude_not_ready=True))}))
    ask("unregister: load again", lambda: server.load("extra"))
    ask("unregister: again", lambda: server.unregister_model_repository(second))
    ask("mapping", lambda: server.register_model_repository(second, {"extra": "alias", "named": "other"}))
    ask("mapping: models", lambda: sorted({line[0] for line in _models(server.models())}))
    ask("mapping: load by the new name", lambda: _loaded(server.load("alias")))
    ask(
        "mapping: infer",
        lambda: _responses(server.model("alias").infer(inputs={"IN": np.array([4], np.int32)})),
    )
    ask("mapping: whose configuration has another name", lambda: _loaded(server.load("other")))
    ask("mapping: load by the folder's name", lambda: _loaded(server.load("named")))
    ask(
        "mapping: to a name that is taken",
        lambda: server.register_model_repository(str(folder / "clash"), {"add": "alias"}),
    )
    ask("mapping: gone", lambda: server.unregister_model_repository(second))
    ask("poll in explicit mode", server.poll_model_repository)
    server.stop()


TEXT_CONFIG = {
    "backend": "python",
    "max_batch_size": 0,
    "input": [{"name": "IN", "data_type": "TYPE_STRING", "dims": [-1]}],
    "output": [{"name": "OUT", "data_type": "TYPE_STRING", "dims": [-1]}],
    "parameters": {"who": {"string_value": "me"}},
}


def _loaded(model):
    return [model.name, int(model.version), model.ready()]


def _polled(asking, folder):
    ask = asking.ask
    polled = folder / "polled"
    shutil.copytree(folder / "first" / "add", polled / "add")
    server = asking.api.Server(model_repository=str(polled), model_control_mode=asking.api.ModelControlMode.POLL)
    server.start(wait_until_ready=True)
    ask("poll: at the start", lambda: _models(server.models()))
    shutil.copytree(folder / "first" / "text", polled / "text")
    ask("poll: nothing happens by itself", lambda: server.model("text").ready())
    ask("poll", server.poll_model_repository)
    ask("poll: a new model", lambda: server.model("text").ready())
    ask("poll: load", lambda: server.load("text"))
    shutil.rmtree(polled / "text")
    ask("poll: again", server.poll_model_repository)
    ask("poll: a model that is gone", lambda: server.model("text").ready())
    ask("poll: register", lambda: server.register_model_repository(str(folder / "second")))
    server.stop()


def _refused_starts(asking, folder):
    ask, server = asking.ask, asking.api.Server
    explicit = asking.api.ModelControlMode.EXPLICIT
    bad = folder / "bad"
    write_model(bad / "broken", _config("broken", "TYPE_INT32"), "syntax error")
    ask("start: a missing repository", lambda: server(model_repository=str(folder / "missing")).start())
    ask(
        "start: an unknown model",
        lambda: server(
            model_repository=str(folder / "first"), model_control_mode=explicit, startup_models=["nothing"]
        ).start(),
    )
    ask("start: a broken model", lambda: server(model_repository=str(bad)).start())
    started = server(model_repository=str(bad), exit_on_error=False)
    ask("start: a broken model that does not matter", lambda: started.start() is started)
    ask("start: then ready", started.ready)
    ask("start: then the model", lambda: started.model("broken").ready())
    started.stop()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import real_library

    print(json.dumps(run(real_library, Path(sys.argv[1])), indent=1, ensure_ascii=False))
    sys.stdout.flush()
