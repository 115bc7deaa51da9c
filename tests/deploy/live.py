"""A live server that has all that the dashboards show: two versions, batches, a cache, failures, refusals, a decoupled
model, models that fail to load and that were unloaded; and a little traffic for it.
"""

import itertools
from pathlib import Path

from tests.conformance.onnx_models import failing_model, identity_model, sum_and_difference_model
from tests.conformance.process import ServerProcess, start_atoll
from tests.side_by_side import side_by_side

MODELS = ("pair", "cached", "failing", "stream")
"""Those that are served and asked; beside them `broken`, which cannot be loaded, and `gone`, which was unloaded."""

_numbers = itertools.count()

_PAIR = """
backend: "onnxruntime" max_batch_size: 8 version_policy { all { } }
dynamic_batching { max_queue_delay_microseconds: 2000 }
input [ { name: "INPUT0" data_type: TYPE_INT32 dims: [ 4 ] }, { name: "INPUT1" data_type: TYPE_INT32 dims: [ 4 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 4 ] }, { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 4 ] } ]
"""
_VECTOR = """
backend: "onnxruntime"
input [ {{ name: "INPUT0" data_type: {type} dims: [ 2 ] }} ]
output [ {{ name: "OUTPUT0" data_type: {type} dims: [ 2 ] }} ]
{more}
"""
_STREAM = """
backend: "python" version_policy { all { } } model_transaction_policy { decoupled: true }
input [ { name: "INPUT0" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""
_STREAM_CODE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            sender = request.get_response_sender()
            for _ in range(2):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", tensor.as_numpy())]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def write_repository(root: Path) -> Path:
    """All of the models; returns `root`."""
    pair, floats = sum_and_difference_model(["batch", 4]), identity_model("fp32", [2])
    _write(root, "pair", _PAIR, {"1/model.onnx": pair, "2/model.onnx": pair})
    cached = _VECTOR.format(type="TYPE_FP32", more="response_cache { enable: true }")
    _write(root, "cached", cached, {"1/model.onnx": floats})
    _write(root, "failing", _VECTOR.format(type="TYPE_INT32", more=""), {"1/model.onnx": failing_model(2)})
    code = _STREAM_CODE.encode()
    _write(root, "stream", _STREAM, {"1/model.py": code, "2/model.py": code})
    _write(root, "broken", _VECTOR.format(type="TYPE_FP32", more=""), {"1/model.onnx": b"no model"})
    _write(root, "gone", _VECTOR.format(type="TYPE_FP32", more=""), {"1/model.onnx": floats})
    return root


def _write(root: Path, name: str, config: str, files: dict[str, bytes]) -> None:
    for file, data in files.items():
        path = root / name / file
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    (root / name / "config.pbtxt").write_text(f'name: "{name}"\n{config}')


def start_live(folder: Path) -> ServerProcess:
    """The server, with `broken` tried and `gone` unloaded."""
    repository = write_repository(folder / "models")
    server = start_atoll(
        repository,
        folder / "log",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in (*MODELS, "gone")),
        "--strict-readiness=false",  # what one that somebody tries to load makes of all others
        "--cache-config=local,size=1048576",
        "--metrics-config=histogram_latencies=true",
        "--metrics-interval-ms=200",
    )
    try:
        assert server.exchange("POST", "/v2/repository/models/broken/load").status == 400
        assert server.exchange("POST", "/v2/repository/models/gone/unload").status == 200
    except BaseException:
        server.__exit__(None, None, None)
        raise
    return server


def send_traffic(server: ServerProcess, rounds: int = 5) -> None:
    """Each round asks every model and version, wrongly too; some requests at once."""
    for number in itertools.islice(_numbers, rounds):  # others than ever before: the cache has not seen them
        side_by_side(3, lambda asker: _ask_pair(server, ("1", "2", "1")[asker]))
        for values in ("[1, 2]", f"[{number}, 3]"):
            _ask(server, "cached", "", f'{{"name":"INPUT0","datatype":"FP32","shape":[2],"data":{values}}}', 200)
        send_failing(server)
        stream = server.exchange("POST", "/v2/models/stream/generate_stream", body=b'{"INPUT0": [7]}')
        assert stream.status == 200, stream.body
        for version in ("1", "2"):
            _ask(server, "pair", version, '{"name":"INPUT0","datatype":"FP32","shape":[1,4],"data":[0,0,0,0]}', 400)


def send_failing(server: ServerProcess, count: int = 1) -> None:
    """Requests whose execution fails."""
    for _ in range(count):
        _ask(server, "failing", "", '{"name":"INPUT0","datatype":"INT32","shape":[2],"data":[5,6]}', 500)


def _ask_pair(server: ServerProcess, version: str) -> None:
    tensor = '{{"name":"INPUT{0}","datatype":"INT32","shape":[1,4],"data":[1,2,3,4]}}'
    _ask(server, "pair", version, f"{tensor.format(0)},{tensor.format(1)}", 200)


def _ask(server: ServerProcess, model: str, version: str, inputs: str, status: int) -> None:
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
    answer = server.exchange("POST", path, body=f'{{"inputs":[{inputs}]}}'.encode())
    assert answer.status == status, f"{model}: {answer.status} {answer.body!r}"
