"""A python-based backend that is served: its code in one folder, the models' own files in theirs; and its metrics."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import atoll

CODE = """
import json
import os
import threading

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(0)
        config.add_input({"name": "NAME", "data_type": "TYPE_STRING", "dims": [1]})
        config.add_output({"name": "GREETING", "data_type": "TYPE_STRING", "dims": [1]})
        return config

    def initialize(self, args):
        self.version = args["model_version"]
        with open(os.path.join(pb_utils.get_model_dir(), "greeting.txt")) as file:
            self.greeting = file.read()
        if json.loads(args["model_config"])["parameters"]["isolation"]["string_value"] == "process":
            found = []  # in a process of its own, threads know the model too
            thread = threading.Thread(target=lambda: found.append(pb_utils.get_model_dir()))
            thread.start()
            thread.join()
            assert found == [pb_utils.get_model_dir()]
        self.family = pb_utils.MetricFamily("greeted", "people", pb_utils.MetricFamily.COUNTER)
        self.greeted = self.family.Metric(labels={"model": args["model_name"]})

    def execute(self, requests):
        responses = []
        for request in requests:
            name = pb_utils.get_input_tensor_by_name(request, "NAME").as_numpy()[0].decode()
            self.greeted.increment(1)
            text = np.array([f"{self.greeting}, {name}"], dtype=object)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("GREETING", text)]))
        return responses
"""


@pytest.fixture(scope="module", params=["process", "thread"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[atoll.Server]:
    place: Path = tmp_path_factory.mktemp("python_based")
    (place / "backends/greeter").mkdir(parents=True)
    (place / "backends/greeter/model.py").write_text(CODE)
    for name, greeting in (("english", "Hello"), ("german", "Hallo")):
        (place / "models" / name / "1").mkdir(parents=True)
        (place / "models" / name / "1/greeting.txt").write_text(greeting)
        isolation = f'parameters {{ key: "isolation" value {{ string_value: "{request.param}" }} }}'
        (place / "models" / name / "config.pbtxt").write_text(f'backend: "greeter"\n{isolation}\n')
    options = {"model_control_mode": "explicit", "load_model": ["*"], "backend_directory": str(place / "backends")}
    with atoll.Server(place / "models", **options) as running:
        yield running


def greet(server: atoll.Server, model: str) -> str:
    text: bytes = server.infer(model, {"NAME": np.array([b"Ada"], object)})["GREETING"][0]
    return text.decode()


def test_models_share_the_code_and_have_files_of_their_own(server: atoll.Server) -> None:
    assert (greet(server, "english"), greet(server, "german")) == ("Hello, Ada", "Hallo, Ada")
    config = server.model("german").config
    assert (config.backend, config.runtime, config.output[0].name) == ("greeter", "model.py", "GREETING")


def test_metrics_are_on_the_page_while_their_model_is_served(server: atoll.Server) -> None:
    before = server.custom_metrics.render()
    assert before.count("# TYPE greeted counter\n") == 1
    greet(server, "german")
    line = next(one for one in before.splitlines() if 'model="german"' in one)
    count = int(line.split()[-1])
    assert f'greeted{{model="german"}} {count + 1}\n' in server.custom_metrics.render()
    server.unload_model("german")
    page = server.custom_metrics.render()
    assert 'model="german"' not in page
    assert 'greeted{model="english"}' in page
    server.load_model("german")
    assert 'greeted{model="german"} 0\n' in server.custom_metrics.render()
