"""The stand-ins as fixtures: moto for S3, azurite for Azure, and a small server of ours for what those do not do."""

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.cloud.stand_ins import AWS, FEW_RETRIES, S3, Opener, installed_azurite
from tests.cloud.xml_store import XmlStore, running

from atoll.repositories.object_store import ObjectStoreRepository


@pytest.fixture(scope="session", autouse=True)
def _no_proxy() -> None:
    """The clients of the stand-ins go to this machine, whatever proxies it has."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name, ""), "127.0.0.1"]))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens repositories with a cache of this test's own, and closes them."""
    repositories: list[ObjectStoreRepository] = []

    def open_one(location: str, environment: dict[str, str] = AWS, **options: Any) -> ObjectStoreRepository:
        options = {"cache_directory": tmp_path / "cache", "patience": FEW_RETRIES, **options}
        repositories.append(ObjectStoreRepository(location, environment=environment, **options))
        return repositories[-1]

    yield open_one
    for repository in repositories:
        repository.close()


@pytest.fixture
def xml_store() -> Iterator[XmlStore]:
    with running() as store:
        yield store


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto: str) -> S3:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=f"http://{moto}",
        aws_access_key_id="testing",
        aws_secret_access_key="secret",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    bucket = f"bucket-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    return S3(client, moto, bucket)


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where azurite answers: http://host:port."""
    program = installed_azurite()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    options = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    log = tmp_path_factory.mktemp("azurite") / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([*command, *options], stdout=file, stderr=file)
    try:
        for _ in range(600):
            assert process.poll() is None, f"azurite ended: {log.read_text()}"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"azurite does not answer: {log.read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
