"""The response cache in a real Redis server: shared, used again, and never in the way of an answer."""

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.caching.conftest import PASSWORD, RedisServer

import atoll
from atoll.caching.redis_cache import PASSWORD as PASSWORD_VARIABLE
from atoll.caching.redis_cache import USERNAME as USERNAME_VARIABLE
from atoll.caching.redis_cache import RedisCache
from atoll.errors import InvalidArgumentError

PATIENCE_S = 60
CODE = """
import numpy as np
import triton_python_backend_utils as pb
class TritonPythonModel:
    def initialize(self, args):
        self.calls = 0
    def execute(self, requests):
        answers = []
        for request in requests:
            self.calls += 1
            value = pb.get_input_tensor_by_name(request, "IN").as_numpy()
            outputs = [pb.Tensor("OUT", value * FACTOR), pb.Tensor("CALLS", np.array([self.calls], np.int32))]
            answers.append(pb.InferenceResponse(outputs))
        return answers
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_FP32 dims: [-1] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [-1] }, { name: "CALLS" data_type: TYPE_INT32 dims: [1] }]
response_cache { enable: true }
parameters { key: "isolation" value { string_value: "thread" } }
"""


def write(repository: Path, factor: int = 2, name: str = "m") -> Path:
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.py").write_text(CODE.replace("FACTOR", str(factor)))
    (folder / "config.pbtxt").write_text(CONFIG)
    return repository


Start = Callable[..., atoll.Server]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[atoll.Server] = []

    def build(repository: Path, redis_server: RedisServer, *more: str, timeout: float = PATIENCE_S) -> atoll.Server:
        where = ["redis,host=127.0.0.1", f"redis,port={redis_server.port}", f"redis,timeout={timeout}"]
        servers.append(atoll.Server(repository, cache_config=[*where, *more]))
        return servers[-1].start()

    yield build
    for server in servers:
        server.stop()


def client(redis_server: RedisServer, **options: Any) -> Any:
    return redis.Redis(port=redis_server.port, **options)


def keys(redis_server: RedisServer) -> list[bytes]:
    with client(redis_server) as asked:
        return sorted(asked.keys("atoll:*"))


def wait_for(condition: Callable[[], Any]) -> None:
    """Answers are kept after they have been given."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.01)


def ask(server: atoll.Server, *values: float, model: str = "m") -> tuple[list[float], int]:
    response = server.infer(model, {"IN": np.array(values, np.float32)}, timeout=PATIENCE_S)
    return response["OUT"].tolist(), int(response["CALLS"][0])


def ask_and_keep(server: atoll.Server, redis_server: RedisServer, *values: float) -> tuple[list[float], int]:
    before = len(keys(redis_server))
    answer = ask(server, *values)
    wait_for(lambda: len(keys(redis_server)) > before)
    return answer


def test_answers_are_kept_and_used_by_other_servers(tmp_path: Path, start: Start, redis_server: RedisServer) -> None:
    one = start(write(tmp_path / "models"), redis_server)
    assert ask_and_keep(one, redis_server, 1, 2) == ([2, 4], 1)
    assert ask(one, 1, 2) == ([2, 4], 1)
    assert ask(one, 3) == ([6], 2)
    other = start(write(tmp_path / "another place"), redis_server)  # the same files
    assert ask(other, 1, 2) == ([2, 4], 1)
    [statistics] = other.statistics("m")
    assert (statistics.cache_hit.count, statistics.execution_count) == (1, 0)
    assert keys(redis_server)[0].startswith(b"atoll:1:m:1:")


def test_a_model_with_other_files_answers_itself(tmp_path: Path, start: Start, redis_server: RedisServer) -> None:
    repository = write(tmp_path / "models")
    one = start(repository, redis_server)
    assert ask_and_keep(one, redis_server, 1)[0] == [2]
    one.stop()
    assert ask(start(write(repository, factor=3), redis_server), 1)[0] == [3]
    (repository / "m" / "1" / "note").write_text("a file beside the code")
    assert ask(start(write(repository), redis_server), 1) == ([2], 1)
    (repository / "m" / "1" / "note").unlink()
    (repository / "m" / "2").mkdir()  # another version is none of this one's files
    (repository / "m" / "2" / "model.py").write_text("")
    write(repository)
    (repository / "m" / "config.pbtxt").write_text(CONFIG + "version_policy { specific { versions: 1 } }\n")
    last = start(repository, redis_server)
    ask(last, 1)
    assert last.statistics("m")[0].execution_count == 0


def test_an_entry_ends_with_its_time(tmp_path: Path, start: Start, redis_server: RedisServer) -> None:
    server = start(write(tmp_path / "models"), redis_server, "redis,ttl=3600")
    ask_and_keep(server, redis_server, 1)
    with client(redis_server) as asked:
        (key,) = keys(redis_server)
        assert 3_500_000 < asked.pttl(key) <= 3_600_000
        asked.pexpire(key, 1)
        wait_for(lambda: not keys(redis_server))
    assert ask(server, 1)[1] == 2


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda asked, key: asked.set(key, b""), id="nothing"),
        pytest.param(lambda asked, key: asked.set(key, b"x" * 100), id="other bytes"),
        pytest.param(lambda asked, key: asked.setrange(key, 6, b"\xff\xff"), id="a wrong length"),
        pytest.param(lambda asked, key: asked.append(key, b"more"), id="too much"),
        pytest.param(lambda asked, key: asked.set(key, asked.get(key)[:-1]), id="too little"),
        pytest.param(lambda asked, key: (asked.delete(key), asked.lpush(key, b"x")), id="another type"),
    ],
)
def test_what_somebody_else_has_written_is_a_miss(
    tmp_path: Path, start: Start, redis_server: RedisServer, spoil: Callable[[Any, bytes], Any]
) -> None:
    server = start(write(tmp_path / "models"), redis_server)
    ask_and_keep(server, redis_server, 1)
    with client(redis_server) as asked:
        spoil(asked, keys(redis_server)[0])
    assert ask(server, 1) == ([2], 2)
    assert ask(server, 2) == ([4], 3)  # and the cache is asked on
    assert server.response_cache is not None
    assert server.response_cache.misses == 3


def test_requests_go_on_when_redis_is_killed_in_the_middle(
    tmp_path: Path, start: Start, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(write(tmp_path / "models"), redis_server)
    answers: list[bool] = []
    killed, enough = threading.Event(), threading.Event()

    def keep_asking(seed: int) -> None:
        number = after = 0
        while after < 20:
            number += 1
            value = (seed + number) % 5
            answers.append(ask(server, value)[0] == [2 * value])
            after += killed.is_set()
            if number == 20:
                enough.set()

    threads = [threading.Thread(target=keep_asking, args=(seed,)) for seed in range(4)]
    with caplog.at_level(logging.WARNING):
        for thread in threads:
            thread.start()
        assert enough.wait(PATIENCE_S)
        redis_server.kill()
        killed.set()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    assert all(answers)
    assert len(answers) >= 80
    assert server.statistics("m")[0].fail.count == 0
    said = [record for record in caplog.records if "response cache 'redis'" in record.getMessage()]
    assert 1 <= len(said) <= 3
    redis_server.start()  # empty: it is used again as soon as its rest is over
    wait_for(lambda: ask(server, 7) and keys(redis_server))
    calls = ask(server, 7)[1]
    assert ask(server, 7)[1] == calls


def test_a_redis_that_hangs_costs_a_moment_and_no_answer(
    tmp_path: Path, start: Start, redis_server: RedisServer
) -> None:
    server = start(write(tmp_path / "models"), redis_server, timeout=0.05)
    ask(server, 1)
    redis_server.pause()
    try:
        assert [ask(server, value)[0] for value in range(10)] == [[2 * value] for value in range(10)]
        assert server.statistics("m")[0].fail.count == 0
        store = server._fleet.caching._store
        assert store is not None
        assert store.rests
    finally:
        redis_server.go_on()


def test_a_server_starts_without_its_redis(
    tmp_path: Path, start: Start, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.kill()
    server = start(write(tmp_path / "models"), redis_server, timeout=1)
    assert "does not answer yet, and requests are served without it" in caplog.text
    assert ask(server, 1) == ([2], 1)
    redis_server.start()
    wait_for(lambda: ask(server, 1) and keys(redis_server))


def test_a_full_redis_is_read_on(tmp_path: Path, start: Start, redis_server: RedisServer) -> None:
    server = start(write(tmp_path / "models"), redis_server)
    ask_and_keep(server, redis_server, 1)
    with client(redis_server) as asked:
        asked.config_set("maxmemory", "1")
    assert ask(server, 2) == ([4], 2)
    assert ask(server, 1) == ([2], 1)
    assert ask(server, 2) == ([4], 3)


def test_a_password_comes_from_the_settings_or_the_environment(guarded_redis: RedisServer) -> None:
    settings = {"host": "127.0.0.1", "port": str(guarded_redis.port), "timeout": str(PATIENCE_S)}
    for more, environment in (
        ({"password": PASSWORD}, {}),
        ({"password": PASSWORD, "user": "default"}, {PASSWORD_VARIABLE: "wrong"}),
        ({}, {PASSWORD_VARIABLE: PASSWORD, USERNAME_VARIABLE: "default"}),
    ):
        cache = RedisCache({**settings, **more}, environment)
        cache.insert("a", b"1", 0)
        assert cache.lookup("a") == b"1"
        cache.close()
    for more in ({}, {"password": "wrong"}, {"user": "nobody", "password": PASSWORD}):
        with pytest.raises(InvalidArgumentError, match="refuses the user or the password") as raised:
            RedisCache({**settings, **more}, {})
        assert PASSWORD not in str(raised.value)


def test_settings_in_one_option_are_no_host() -> None:
    with pytest.raises(InvalidArgumentError, match="each setting in a --cache-config of its own"):
        RedisCache({"host": "127.0.0.1,port=6379"}, {})


def test_an_entry_that_is_too_large_is_neither_written_nor_read(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.caching.redis_cache.MOST_BYTES", 10)
    cache = RedisCache({"host": "127.0.0.1", "port": str(redis_server.port), "timeout": str(PATIENCE_S)}, {})
    cache.insert("a", bytes(11), 0)
    assert cache.lookup("a") is None
    with client(redis_server) as asked:
        asked.set("a", bytes(1000))
    found = cache.lookup("a")
    assert found is not None
    assert len(found) == 11  # cut off, which no whole answer is
    cache.close()


def test_another_database_is_another_cache(redis_server: RedisServer) -> None:
    settings = {"host": "127.0.0.1", "port": str(redis_server.port), "timeout": str(PATIENCE_S)}
    one, other = RedisCache({**settings, "db": "1"}, {}), RedisCache({**settings, "db": "2"}, {})
    one.insert("a", b"1", 0)
    assert (one.lookup("a"), other.lookup("a")) == (b"1", None)
    one.close()
    other.close()


def test_a_redis_that_hangs_holds_up_nobody_else(tmp_path: Path, start: Start, redis_server: RedisServer) -> None:
    repository = write(write(tmp_path / "models"), name="plain")
    (repository / "plain" / "config.pbtxt").write_text(CONFIG.replace("enable: true", "enable: false"))
    server = start(repository, redis_server)
    with atoll.listen(server, http_port=0, grpc_port=0, allow_metrics=False) as listener:
        port = listener.http_port
        over_http(port, "m", 1)
        wait_for(lambda: keys(redis_server))
        redis_server.pause()
        found: list[float] = []
        waiting = [threading.Thread(target=lambda: found.append(over_http(port, "m", 1))) for _ in range(3)]
        for thread in waiting:
            thread.start()
        wait_for(lambda: server.model("m").in_flight() == 3)
        assert [over_http(port, "plain", value) for value in range(5)] == [0, 2, 4, 6, 8]
        assert not found  # its lookups still wait for Redis
        redis_server.go_on()
        for thread in waiting:
            thread.join(PATIENCE_S)
        assert found == [2, 2, 2]
    assert server.statistics("m")[0].execution_count == 1


def over_http(port: int, model: str, value: float) -> float:
    body = {"inputs": [{"name": "IN", "shape": [1], "datatype": "FP32", "data": [value]}]}
    url = f"http://127.0.0.1:{port}/v2/models/{model}/infer"
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=PATIENCE_S) as answer:
        return float(json.load(answer)["outputs"][0]["data"][0])


def test_redis_over_tls_with_an_authority_of_ones_own(redis_program: str, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    certificate(folder)
    files = ["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-ca-cert-file", "authority.pem"]
    server = RedisServer(redis_program, folder, *files, "--tls-auth-clients", "no")
    server.use_tls()
    server.start()
    settings = {"host": "127.0.0.1", "port": str(server.port), "timeout": str(PATIENCE_S), "tls_enabled": "true"}
    try:
        cache = RedisCache({**settings, "cacert": str(folder / "authority.pem")}, {})
        cache.insert("a", b"1", 0)
        assert cache.lookup("a") == b"1"
        cache.close()
        stranger = RedisCache(settings, {})  # one that does not know the authority
        with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
            stranger.lookup("a")
        stranger.close()
    finally:
        server.kill()


def certificate(folder: Path) -> None:
    """An authority's certificate, and with its signature a server's for 127.0.0.1."""
    now = datetime.now(UTC)
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def signed(name: str, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, "authority"))
        builder = x509.CertificateBuilder(
            issuer, subject, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(9)
        )
        made = builder.add_extension(extension, critical=True).sign(authority_key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    authority = x509.BasicConstraints(ca=True, path_length=None)
    (folder / "authority.pem").write_bytes(signed("authority", authority_key, authority))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    (folder / "server.pem").write_bytes(signed("server", server_key, address))
    plain = serialization.NoEncryption()
    key = server_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "server.key").write_bytes(key)
