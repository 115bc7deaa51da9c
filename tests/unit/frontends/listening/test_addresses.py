"""Where to listen, in every form in which it may be written."""

import errno
import os
import socket
import stat

import pytest

from atoll.frontends.listening.address import Address, grpc_target, parse_address, shown
from atoll.frontends.listening.sockets import listen_on, make_way
from atoll.frontends.metrics.frontend import MetricsOptions
from atoll.frontends.sagemaker.frontend import SageMakerOptions
from atoll.frontends.vertex_ai.frontend import VertexAiOptions
from atoll.options import OPTIONS


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("ipv4:127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("ipv6:::1", "::1"),
        ("ipv6:[::1]", "::1"),
        ("::", "::"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_a_host_in_the_real_servers_forms_and_the_usual_ones(text, host):
    address = parse_address(text, 8000)
    assert (address.host, address.port, address.path) == (host, 8000, "")


def test_a_path_has_no_port():
    assert parse_address("unix:/run/atoll.sock", 8000) == Address(path="/run/atoll.sock")


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (Address("127.0.0.1", 1), "127.0.0.1:1"),
        (Address("::1", 1), "[::1]:1"),
        (Address(path="/a b"), "unix:/a b"),
    ],
)
def test_what_grpcio_is_told(address, target):
    assert grpc_target(address) == target


def test_what_the_log_says():
    assert [shown("0.0.0.0", 8000), shown("::1", 8000), shown("unix:/x", 0)] == [
        "0.0.0.0:8000",
        "[::1]:8000",
        "unix:/x",
    ]


def needs_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


def reaches(host, port):
    try:
        with socket.create_connection((host, port), 5):
            return True
    except ConnectionRefusedError:
        return False


def test_two_colons_are_both_protocols_on_one_port():
    needs_ipv6()
    bound = listen_on(Address("::", 0))
    ports = {port for _, port in bound.addresses}
    assert len(ports) == 1
    (port,) = ports
    assert reaches("127.0.0.1", port)
    assert reaches("::1", port)
    bound.close()
    assert not reaches("127.0.0.1", port)


def test_a_protocol_that_is_named_is_the_only_one():
    needs_ipv6()
    bound = listen_on(parse_address("ipv6:::", 0))
    ((_, port),) = bound.addresses
    assert reaches("::1", port)
    assert not reaches("127.0.0.1", port)
    bound.close()
    with pytest.raises(OSError, match="cannot listen on"):
        listen_on(parse_address("ipv4:::1", 0))


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_one_protocol_is_only_that_one(host, other):
    needs_ipv6()
    bound = listen_on(Address(host, 0))
    ((_, port),) = bound.addresses
    assert reaches(host, port)
    assert not reaches(other, port)
    bound.close()


def test_a_port_that_is_taken_is_named():
    bound = listen_on(Address("127.0.0.1", 0))
    port = bound.addresses[0][1]
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use") as caught:
        listen_on(Address("127.0.0.1", port))
    assert caught.value.errno == errno.EADDRINUSE
    bound.close()


def test_a_port_is_shared_where_both_say_so():
    first = listen_on(Address("127.0.0.1", 0), reuse_port=True)
    port = first.addresses[0][1]
    second = listen_on(Address("127.0.0.1", port), reuse_port=True)
    with pytest.raises(OSError, match="already in use"):
        listen_on(Address("127.0.0.1", port))
    second.close()
    first.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "300.1.1.1", "127.0.0.1:8000"])
def test_a_host_that_is_none_is_named(host):
    with pytest.raises(OSError, match=r"cannot listen on .*"):
        listen_on(Address(host, 0))


def test_a_unix_socket_comes_and_goes_with_who_listens(tmp_path):
    path = tmp_path / "s"
    before = os.umask(0o022)
    try:
        bound = listen_on(Address(path=str(path)), mode=0o660)
    finally:
        os.umask(before)
    assert bound.addresses == [(f"unix:{path}", 0)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    bound.close()
    assert not path.exists()


def test_a_socket_that_somebody_listens_on_is_left_alone(tmp_path):
    path = str(tmp_path / "s")
    bound = listen_on(Address(path=path))
    with pytest.raises(OSError, match="another process listens there"):
        listen_on(Address(path=path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    bound.close()


def test_what_a_killed_server_left_is_replaced(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    assert os.path.exists(path)
    listen_on(Address(path=path)).close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        listen_on(Address(path=str(path)))
    with pytest.raises(OSError, match="no socket"):
        make_way(str(path))
    assert path.read_text() == "precious"


def test_the_next_servers_file_is_left_alone(tmp_path):
    path = tmp_path / "s"
    first = listen_on(Address(path=str(path)))
    path.unlink()
    second = listen_on(Address(path=str(path)))
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


@pytest.mark.parametrize("path", ["relative", "/" + "x" * 120, "/no/such/folder/s"])
def test_a_path_that_cannot_be_is_named(path):
    with pytest.raises(OSError, match="cannot listen on unix:"):
        listen_on(Address(path=path))


@pytest.mark.parametrize("options", [MetricsOptions, SageMakerOptions, VertexAiOptions])
def test_a_port_without_an_address_of_its_own_is_beside_http_and_never_in_its_socket(options, monkeypatch):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/health")
    values = {option.field: option.default for option in OPTIONS}
    assert options.from_values({**values, "http_address": "::1"}).host == "::1"
    assert options.from_values({**values, "http_address": "unix:/run/http.sock"}).host == "127.0.0.1"
