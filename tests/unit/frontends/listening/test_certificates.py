"""Certificates: what is wrong with them is said at start, and those that change are read again."""

import os
import shutil
import socket
import ssl
import subprocess
from dataclasses import replace

import grpc
import pytest
from tests.unit.frontends.listening.conftest import LIVE, WAIT_S, files_of, wait_until

from atoll.errors import InvalidArgumentError
from atoll.frontends.http.frontend import HttpOptions
from atoll.frontends.listening.tls import Certificates, TlsFiles, tls_context
from atoll.frontends.metrics.frontend import MetricsOptions
from atoll.options import OPTIONS

DEFAULTS = {one.field: one.default for one in OPTIONS}


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_certificate(folder, name):
    """A new key and a certificate that it signs itself, in the place of those that are there."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", folder / "new.key", "-out", folder / "new.pem", "-subj", f"/CN={name}")
    os.replace(folder / "new.key", folder / "server.key")
    os.replace(folder / "new.pem", folder / "server.pem")


@pytest.fixture
def folder(certificates, tmp_path):
    """Certificates that may be changed."""
    return shutil.copytree(certificates, tmp_path / "certificates")


# ---- what is wrong


@pytest.mark.parametrize("prefix", ["http", "grpc"])
@pytest.mark.parametrize(
    ("file", "option"), [("server.pem", "server-cert"), ("server.key", "server-key"), ("ca.pem", "root-cert")]
)
def test_a_file_that_is_not_there_is_named_with_its_option(folder, prefix, file, option):
    (folder / file).unlink()
    with pytest.raises(OSError, match=f"--{prefix}-{option}: cannot read '.*{file}': No such file"):
        tls_context(files_of(folder, prefix=prefix), ["h2"])


def test_a_key_of_another_certificate(folder):
    shutil.copy(folder / "client.key", folder / "server.key")
    with pytest.raises(OSError, match=r"--http-server-key: the key in '.*server.key' does not belong to the cert"):
        tls_context(files_of(folder), ["h2"])


def test_an_encrypted_key_asks_nobody_for_its_password(folder):
    openssl("pkey", "-in", folder / "client.key", "-aes256", "-passout", "pass:secret", "-out", folder / "server.key")
    with pytest.raises(OSError, match=r"--http-server-key: '.*server.key' is encrypted.*openssl pkey"):
        tls_context(files_of(folder), ["h2"])


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("server.pem", "", "--http-server-cert: '.*' holds no PEM block '-----BEGIN CERTIFICATE-----'"),
        ("server.key", "", "--http-server-key: '.*' holds no PEM block '-----BEGIN PRIVATE KEY-----'"),
        ("ca.pem", "", "--http-root-cert: no certificates in"),
        ("server.pem", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", "cannot be used"),
        ("server.key", "-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n", "cannot be used"),
    ],
)
def test_a_file_that_holds_something_else(folder, file, text, said):
    (folder / file).write_text(text)
    with pytest.raises(OSError, match=said):
        tls_context(files_of(folder), ["h2"])


@pytest.mark.parametrize("prefix", ["http", "grpc"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"use_ssl": True}, "--{}-use-ssl needs --{}-server-cert=FILE"),
        ({"use_ssl": True, "server_cert": "x"}, "--{}-use-ssl needs --{}-server-key=FILE"),
        (
            {"use_ssl_mutual": True, "server_cert": "x", "server_key": "x"},
            "--{}-use-ssl-mutual needs --{}-root-cert=FILE",
        ),
    ],
)
def test_an_option_that_is_missing_is_named(prefix, given, said):
    values = DEFAULTS | {f"{prefix}_{name}": value for name, value in given.items()}
    with pytest.raises(InvalidArgumentError, match=said.format(prefix, prefix)):
        TlsFiles.from_values(values, prefix)


def test_mutual_alone_is_enough_as_with_the_real_server():
    values = DEFAULTS | {f"grpc_{name}": "x" for name in ("server_cert", "server_key", "root_cert")}
    files = TlsFiles.from_values(values | {"grpc_use_ssl_mutual": True}, "grpc")
    assert files is not None
    assert files.mutual
    assert TlsFiles.from_values(values, "grpc") is None


def test_the_metrics_follow_http_where_they_are_told_to():
    values = DEFAULTS | {"http_use_ssl": True, "http_server_cert": "c", "http_server_key": "k"}
    assert MetricsOptions.from_values(values).tls is None
    assert MetricsOptions.from_values(values | {"metrics_use_ssl": True}).tls == HttpOptions.from_values(values).tls
    with pytest.raises(InvalidArgumentError, match="--http-server-cert"):
        MetricsOptions.from_values(DEFAULTS | {"metrics_use_ssl": True})


@pytest.mark.parametrize("mode", ["", "999", "rw", "0o660", "1"])
def test_a_mode_that_is_none(mode):
    with pytest.raises(InvalidArgumentError, match="--unix-socket-mode"):
        HttpOptions.from_values(DEFAULTS | {"unix_socket_mode": mode})


def test_a_server_that_cannot_read_its_certificate_does_not_listen(serve_http, folder):
    (folder / "server.key").unlink()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(OSError, match="--http-server-key"):
        serve_http(tls=True, files=files_of(folder), port=port, loops=2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), WAIT_S)


# ---- who is let in


def client_context(folder, named):
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if named:
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
    return context


def live(served, context):
    with context.wrap_socket(served.raw(), server_hostname="localhost") as connection:
        connection.sendall(LIVE)
        return connection.recv(1 << 16)


@pytest.mark.parametrize("loops", [0, 2])
def test_https_with_client_certificates(serve_http, certificates, loops):
    served = serve_http(tls=True, files=files_of(certificates, mutual=True), loops=loops)
    assert live(served, client_context(certificates, named=True)).startswith(b"HTTP/1.1 200 OK")
    with pytest.raises(OSError, match=r"certificate required|reset|closed|Broken pipe"):
        assert not live(served, client_context(certificates, named=False))
        raise ssl.SSLError("closed without an answer")
    assert live(served, client_context(certificates, named=True)).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls(serve_http, certificates, version):
    context = client_context(certificates, named=False)
    context.minimum_version = context.maximum_version = version
    assert live(serve_http(tls=True), context).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated:DeprecationWarning")
def test_an_old_version_of_tls_is_refused(serve_http, certificates):
    context = client_context(certificates, named=False)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    served = serve_http(tls=True)
    with pytest.raises(OSError, match=r"."):
        live(served, context)
    assert served.answers()


# ---- new ones


def test_files_that_change_make_a_new_context_and_broken_ones_do_not(folder, monkeypatch, caplog):
    now = 1000.0
    monkeypatch.setattr("atoll.frontends.listening.tls.monotonic", lambda: now)
    known = Certificates(files_of(folder), ["http/1.1"])
    first = known.context()
    now += 2
    assert known.context() is first
    make_certificate(folder, "second")
    assert known.context() is first, "the files are not looked at for every connection"
    now += 2
    second = known.context()
    assert second is not first
    (folder / "server.key").write_text("half writ")
    now += 2
    assert known.context() is second
    now += 2
    assert known.context() is second
    assert [one.levelname for one in caplog.records].count("ERROR") == 1
    assert "the certificate stays as it was" in caplog.text
    make_certificate(folder, "third")
    now += 2
    assert known.context() is not second


def served_name(served):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(served.raw()) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def test_new_connections_get_the_new_certificate_and_old_ones_go_on(serve_http, folder):
    served = serve_http(tls=True, files=files_of(folder), loops=2)
    with served.connect() as before:
        make_certificate(folder, "renewed")
        renewed = (folder / "server.pem").read_text()
        wait_until(lambda: served_name(served).strip() == renewed.strip(), "new certificate")
        before.sendall(LIVE)
        assert before.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
def test_grpc_takes_the_new_certificate_too(serve_grpc, folder, transport):
    files = replace(files_of(folder, prefix="grpc"), root=None)
    served = serve_grpc(transport, tls=True, files=files)
    assert served.answers()
    (folder / "server.key").write_text("broken")  # keeps the old one
    assert served.answers()
    make_certificate(folder, "renewed")
    renewed = (folder / "server.pem").read_bytes()
    wait_until(lambda: served_name(served).strip() == renewed.decode().strip(), "new certificate")
    old = grpc.secure_channel(
        f"localhost:{served.address[1]}",
        grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes()),
        [("grpc.use_local_subchannel_pool", 1)],
    )
    with old, pytest.raises(grpc.RpcError):
        old.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=5)
