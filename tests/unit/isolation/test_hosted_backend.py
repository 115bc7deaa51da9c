"""An array backend in a real child process: it gets and gives what it would in the server, errors included."""

import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atoll.backends.api import Capabilities, ChildRecipe, ModelSource
from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput, ModelParameter, ModelTensorReshape
from atoll.errors import ConfigError
from atoll.isolation import wire
from atoll.isolation.exchange import Exchange
from atoll.isolation.hosted_backend import recipe, source_document, source_of
from atoll.isolation.process import Child, ChildSpec, launch
from atoll.tensor import DataType, Tensor

PATIENCE_S = 60
HOST = "atoll.isolation.service:host"
PREFIX = f"atoll_test_hosted_{os.getpid()}_"

BACKEND = """
import numpy as np
from atoll.backends.api import Capabilities
from atoll.errors import ConfigError, InvalidArgumentError, UnavailableError

class Instance:
    def __init__(self, model, placement):
        self.model, self.placement = model, placement

    def execute(self, inputs, output_names):
        array = inputs["IN"]
        if array.dtype == object:
            return {"OUT": np.vectorize(lambda one: one[::-1], otypes=[object])(array)}
        what = array.flat[0] if array.size else 0
        if what == -1:
            raise InvalidArgumentError("-1 is not to be had")
        if what == -2:
            raise UnavailableError("not now")
        if what == -3:
            raise ZeroDivisionError("divided")
        if what == -4:
            return {"OUT": array.astype(np.float64)}
        if what == -5:
            return {"OUT": array.astype(np.complex64)}
        if what == -6:
            return {"OUT": array}
        if what == -7:
            return {"OUT": array[::-1, ::-1]}
        if what == -8:
            return None
        facts = [len(array), self.placement.device_id, self.model.source.version, len(output_names)]
        return {"OUT": array * 2, "FACTS": np.tile(np.array(facts, np.int64), (len(array), 1)), "MORE": array}

    def close(self):
        print("instance closed", flush=True)

class Model:
    def __init__(self, source):
        self.source = source

    def instance(self, placement):
        if placement.name == "impossible":
            raise ConfigError("there is no such place")
        return Instance(self, placement)

    def close(self):
        print("model closed", flush=True)
        raise RuntimeError("closing failed")

class Backend:
    name = "elsewhere"
    capabilities = Capabilities()
    default_model_filename = ""
    default_instance_count = 1

    def load(self, source):
        if source.settings.get("fail") == "config":
            raise ConfigError(f"{source.version_directory}/weights is missing")
        if source.settings.get("fail") == "bug":
            raise KeyError("weights")
        return Model(source)
"""

CONFIG = ModelConfig(
    name="m",
    backend="elsewhere",
    max_batch_size=8,
    input=(ModelInput(name="IN", data_type=DataType.FP32, dims=(-1,)),),
    output=(
        ModelOutput(name="OUT", data_type=DataType.FP32, dims=(-1,)),
        ModelOutput(name="FACTS", data_type=DataType.INT64, dims=(4,)),
    ),
)
Answer = wire.Packet
Run = Callable[..., "Running"]


class Running:
    """A child, and the plainest server that can talk to it."""

    def __init__(self, wanted: ChildRecipe, placement: str, kind: str):
        memory = {"first_bytes": 1 << 20, "growth_bytes": 1 << 20, "prefix": PREFIX}
        where = {"name": placement, "kind": kind, "device_id": 3}
        setup = {**wanted.setup, "make": wanted.make, "memory": memory, "placement": where}
        environment = {"PATH": os.environ["PATH"]}
        spec = ChildSpec(name=placement, model="m", environment=environment, host=HOST, setup=setup)
        self.child: Child = launch(spec)
        self.child.data.settimeout(PATIENCE_S)
        self.exchange = Exchange(
            self.child.regions,
            first_bytes=1 << 20,
            growth_bytes=1 << 20,
            prefix=PREFIX,
            on_retract=lambda region: None,
        )
        self._messages = wire.Messages()
        self._came: list[tuple[int, int, Answer | None]] = []
        self._keys = 0

    def next(self, *kinds: int) -> tuple[int, int, Answer | None]:
        """The next message of these kinds. All are parsed in their order: a block is freed after its last mention."""
        while True:
            for index, (kind, _, _) in enumerate(self._came):
                if kind in kinds:
                    return self._came.pop(index)
            count = self.child.data.recv_into(self._messages.room())
            assert count, f"the child has ended: {self.output()}"
            self._messages.received(count)
            for kind, key, payload in self._messages:
                if kind == wire.FREE:
                    self.exchange.take_back(wire.parse_freed(payload))
                else:
                    packet = None if kind == wire.RELEASED else wire.parse(payload, self.exchange)
                    self._came.append((kind, key, packet))

    def send(self, tensors: Sequence[Sequence[Tensor]], facts: dict[str, Any] | None = None) -> list[int]:
        """A batch of requests; their keys."""
        keys = list(range(self._keys, self._keys + len(tensors)))
        self._keys += len(tensors)
        packets = [
            (key, wire.packed(self.exchange, one, facts or {}, f"id {key}", 0))
            for key, one in zip(keys, tensors, strict=True)
        ]
        self.child.data.sendall(b"".join(wire.pack_batch(keys[0], packets)))
        return keys

    def sent_back(self, answer: Answer) -> list[bool]:
        """Which of its tensors lie in our own memory."""
        buffers = [np.frombuffer(tensor.packed(), np.uint8) for tensor in answer.tensors]
        arena = self.exchange._arena
        return [arena.locate(one.__array_interface__["data"][0], one.nbytes) is not None for one in buffers]

    def answers(self, keys: Sequence[int]) -> list[Answer]:
        found: dict[int, Answer] = {}
        while len(found) < len(keys):
            _, key, packet = self.next(wire.RESPONSE)
            assert packet is not None
            assert packet.flags == wire.FINAL
            found[key] = packet
        _, released, _ = self.next(wire.RELEASED)
        assert released == keys[0]
        return [found[key] for key in keys]

    def execute(self, *arrays: Any, **facts: Any) -> list[Answer]:
        return self.answers(self.send([[Tensor.from_numpy("IN", array)] for array in arrays], facts))

    def output(self) -> str:
        text = b""
        while select.select([self.child.watched.output], [], [], PATIENCE_S)[0]:
            data = os.read(self.child.watched.output, 65536)
            if not data:
                break
            text += data
        return text.decode()

    def stop(self) -> None:
        self.child.data.sendall(wire.message(wire.STOP, 0))

    def close(self) -> None:
        self.child.kill()
        while self.child.process.reap() is None:
            select.select([self.child.process.descriptor], [], [], PATIENCE_S)
        self.exchange.close()
        self.child.data.close()
        self.child.watched.close()
        self.child.process.close()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSource:
    """Of a model of the backend above, which only this folder has."""
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "elsewhere_backend.py").write_text(BACKEND)
    monkeypatch.syspath_prepend(str(folder))
    return ModelSource("m", 5, tmp_path / "m", tmp_path / "m" / "5", CONFIG, {"key": "value"})


@pytest.fixture
def run() -> Iterator[Run]:
    running: list[Running] = []

    def start(wanted: ChildRecipe, placement: str = "m_0_0", kind: str = "KIND_CPU") -> Running:
        running.append(Running(wanted, placement, kind))
        return running[-1]

    yield start
    for one in running:
        one.close()
    sys.modules.pop("elsewhere_backend", None)


def elsewhere() -> Any:
    import elsewhere_backend  # type: ignore[import-not-found]

    return elsewhere_backend.Backend()


def error(answer: Answer) -> tuple[str, str]:
    return answer.facts["code"], answer.facts["error"]


def outputs(answer: Answer) -> dict[str, Any]:
    assert not answer.facts, answer.facts
    return {tensor.name: tensor.array() for tensor in answer.tensors}


def test_a_batch_is_executed(source: ModelSource, run: Run) -> None:
    child = run(recipe(source, elsewhere()))
    _, _, ready = child.next(wire.READY)
    assert ready is not None
    assert ready.facts == {}
    array = np.array([[3, 4], [5, 6]], np.float32)
    (answer,) = child.execute(array)
    assert outputs(answer)["OUT"].tolist() == [[6, 8], [10, 12]]
    assert outputs(answer)["FACTS"].tolist() == [[2, 3, 5, 2]] * 2, "a batch of 2, device 3, version 5, 2 outputs"
    assert list(outputs(answer)) == ["OUT", "FACTS"], "those of the configuration"
    (answer,) = child.execute(array, outputs=["OUT"])
    assert list(outputs(answer)) == ["OUT"]
    first, second = child.execute(array[:1], array)
    assert outputs(first)["OUT"].tolist() == [[6, 8]]
    assert outputs(second)["OUT"].tolist() == [[6, 8], [10, 12]]


def test_a_gpu_of_its_own_is_the_first(source: ModelSource, run: Run) -> None:
    child = run(recipe(source, elsewhere()), kind="KIND_GPU")
    child.next(wire.READY)
    (answer,) = child.execute(np.array([[1]], np.float32))
    assert outputs(answer)["FACTS"].tolist() == [[1, 0, 5, 2]]


def test_large_tensors_travel_in_shared_memory_and_come_back_without_a_copy(source: ModelSource, run: Run) -> None:
    child = run(recipe(source, elsewhere()))
    child.next(wire.READY)
    array = np.full((2, 1 << 19), 7, np.float32)
    for what in (0, -6, -7):
        array[0, 0] = what
        expected = {0: array * 2, -6: array, -7: array[::-1, ::-1]}[what]
        for _ in range(3):
            (answer,) = child.execute(array)
            assert (outputs(answer)["OUT"] == expected).all()
            if what == -6:
                assert child.sent_back(answer) == [True], "the server's own block"
            del answer
    names = Path(f"/proc/{child.child.pid}/maps").read_text()
    assert PREFIX in names, "it does use shared memory"


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (-1, "INVALID_ARG", "-1 is not to be had"),
        (-2, "UNAVAILABLE", "not now"),
        (-3, "INTERNAL", "ZeroDivisionError: divided"),
        (-5, "INTERNAL", "output 'OUT': numpy dtype 'complex64' has no Triton data type"),
        (-8, "INTERNAL", "TypeError: argument of type 'NoneType' is not "),
    ],
)
def test_an_error_is_the_batchs_and_the_instance_goes_on(
    source: ModelSource, run: Run, value: int, code: str, text: str
) -> None:
    child = run(recipe(source, elsewhere()))
    child.next(wire.READY)
    refused, answer = child.execute(np.array([[value]], np.float32), np.array([[4]], np.float32))
    assert error(refused)[0] == code
    assert text in error(refused)[1]
    assert outputs(answer)["OUT"].tolist() == [[8]]
    child.stop()
    if value == -3:
        assert "ZeroDivisionError: divided" in child.output(), "the log has the traceback"


def test_an_output_of_another_type_goes_as_it_is(source: ModelSource, run: Run) -> None:
    child = run(recipe(source, elsewhere()))
    child.next(wire.READY)
    (answer,) = child.execute(np.array([[-4]], np.float32))
    assert answer.tensors[0].datatype is DataType.FP64, "for the server to refuse"


def test_bytes_and_bf16(source: ModelSource, run: Run) -> None:
    def typed(datatype: DataType) -> ModelSource:
        tensors = (replace(CONFIG.input[0], data_type=datatype),), (replace(CONFIG.output[0], data_type=datatype),)
        return replace(source, config=replace(CONFIG, max_batch_size=0, input=tensors[0], output=tensors[1]))

    child = run(recipe(typed(DataType.BYTES), elsewhere()))
    child.next(wire.READY)
    for words in ([b"abc", b"\xff\x00"], [b"a" * 100_000, b""]):
        (answer,) = child.execute(np.array(words, object))
        assert outputs(answer)["OUT"].tolist() == [word[::-1] for word in words]
    child = run(recipe(typed(DataType.BF16), elsewhere()))
    child.next(wire.READY)
    bits = np.array([0x3F80, 0x4000], np.uint16)
    (answer,) = child.answers(child.send([[Tensor("IN", DataType.BF16, (2,), array=bits)]]))
    assert answer.tensors[0].datatype is DataType.BF16
    assert outputs(answer)["OUT"].tolist() == [0x7F00, 0x8000]


def test_it_is_closed_at_the_end(source: ModelSource, run: Run) -> None:
    child = run(recipe(source, elsewhere()))
    child.next(wire.READY)
    child.stop()
    text = child.output()
    assert "instance closed\nmodel closed\n" in text
    assert "RuntimeError: closing failed" in text
    assert child.child.process.reap() in (0, None)


@pytest.mark.parametrize(
    ("settings", "placement", "facts"),
    [
        ({"fail": "config"}, "m_0_0", {"error": "m/5/weights is missing", "code": "INVALID_ARG"}),
        ({}, "impossible", {"error": "there is no such place", "code": "INVALID_ARG"}),
        ({"fail": "bug"}, "m_0_0", {"error": "KeyError: 'weights'"}),
    ],
)
def test_what_cannot_start_says_why(
    source: ModelSource, run: Run, settings: dict[str, str], placement: str, facts: dict[str, Any]
) -> None:
    child = run(recipe(replace(source, settings=settings), elsewhere()), placement)
    kind, _, packet = child.next(wire.FAILED, wire.READY)
    assert kind == wire.FAILED
    assert packet is not None
    found = packet.facts
    assert found["error"].endswith(facts["error"])
    assert {key: found.get(key) for key in facts if key != "error"} == {
        key: value for key, value in facts.items() if key != "error"
    }


def test_an_onnx_model(tmp_path: Path, run: Run) -> None:
    onnx = pytest.importorskip("onnx")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in ("IN", "OUT")]
    node = onnx.helper.make_node("Add", ["IN", "IN"], ["OUT"])
    graph = onnx.helper.make_graph([node], "m", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(model.SerializeToString())
    config = ModelConfig(
        name="m",
        backend="onnxruntime",
        max_batch_size=4,
        input=(ModelInput(name="IN", data_type=DataType.FP32, dims=(4,)),),
        output=(ModelOutput(name="OUT", data_type=DataType.FP32, dims=(4,)),),
    )
    child = run(recipe(ModelSource("m", 1, tmp_path, tmp_path / "1", config), OnnxRuntimeBackend()))
    child.next(wire.READY)
    rows = [np.arange(4 * count, dtype=np.float32).reshape(count, 4) for count in (1, 3)]
    for answer, array in zip(child.execute(*rows), rows, strict=True):
        assert (outputs(answer)["OUT"] == array * 2).all()


# ---- what the child is told


def test_the_source_survives_the_way() -> None:
    config = replace(
        CONFIG,
        parameters={"a": ModelParameter(string_value="ä\u2028")},
        input=(replace(CONFIG.input[0], reshape=ModelTensorReshape(shape=(2, -1))),),
    )
    source = ModelSource(
        "m", 3, Path("/a b/m"), Path("/a b/m/3"), config, {"k": "v"}, backend_directory=Path("/backends/x")
    )
    assert source_of(json.loads(json.dumps(source_document(source)))) == source
    source = replace(source, backend_directory=None, config=ModelConfig(name="m"))
    assert source_of(json.loads(json.dumps(source_document(source)))) == source


class Requests(OnnxRuntimeBackend):
    capabilities = Capabilities(requests=True)


def test_what_cannot_be_imported_elsewhere_is_refused(source: ModelSource) -> None:
    class Local(OnnxRuntimeBackend):
        pass

    with pytest.raises(ConfigError, match=r"model 'm': backend 'onnxruntime' cannot run in a process .*<locals>"):
        recipe(source, Local())
    with pytest.raises(ConfigError, match="takes requests and not arrays"):
        recipe(source, Requests())


def test_the_folder_one_is_in_stays_the_same_folder(source: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("")
    assert recipe(source, OnnxRuntimeBackend()).setup["path"][0] == os.getcwd()
