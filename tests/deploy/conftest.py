"""A real Prometheus that scrapes a live server by the configuration and the rules that are shipped."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conformance.process import ServerProcess
from tests.deploy.gpu_page import served_gpus
from tests.deploy.live import send_traffic, start_live
from tests.deploy.prometheus import Programs, PrometheusServer, find_programs

DEPLOY = Path(__file__).parents[2] / "deploy"
GPU_JOB = "atoll-gpus"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    found = find_programs(tmp_path_factory.mktemp("prometheus"))
    if isinstance(found, str):
        if os.environ.get("CI") == "true":
            pytest.fail(found)
        pytest.skip(found)
    return found


def shipped_config(name: str, folder: Path, target: str) -> Path:
    """A copy of the shipped folder in `folder`; its configuration `name` asks `target`, and more often."""
    copy = folder / "shipped"
    shutil.copytree(DEPLOY / "prometheus", copy)
    path = copy / name
    text = path.read_text()
    for shipped, here in (("localhost:8002", target), ("_interval: 15s", "_interval: 1s")):
        assert shipped in text
        text = text.replace(shipped, here)
    path.write_text(text)
    return path


def with_gpus(config: Path, target: str) -> Path:
    """The configuration with one more job."""
    job = f'  - job_name: {GPU_JOB}\n    static_configs:\n      - targets: ["{target}"]\n'
    config.write_text(config.read_text() + job)
    return config


@dataclass(frozen=True)
class Scraped:
    """A Prometheus that has scraped a live server under traffic, and a page about GPUs. `start`: when it began, in
    seconds since 1970.
    """

    prometheus: PrometheusServer
    server: ServerProcess
    start: float


@pytest.fixture(scope="session")
def scraped(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    folder = tmp_path_factory.mktemp("live")
    with start_live(folder) as server:
        send_traffic(server)  # what is counted by a label for the first time has to rise afterwards
        start = time.time()
        config = shipped_config("prometheus.yml", folder, server.metrics)
        with (
            served_gpus() as gpus,
            PrometheusServer(programs, with_gpus(config, gpus), folder / "prometheus") as prometheus,
        ):
            prometheus.wait_for_scrapes(GPU_JOB, 1)
            prometheus.wait_for_scrapes("atoll", 1)
            for _ in range(2):
                send_traffic(server)
                prometheus.wait_for_scrapes("atoll", 2)
            yield Scraped(prometheus, server, start)
