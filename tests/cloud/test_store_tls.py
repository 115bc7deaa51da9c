"""Object stores over TLS: certificates of an authority of one's own, and certificates that are wrong."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.cloud.stand_ins import AWS, Opener
from tests.cloud.xml_store import Asked, Fault, XmlStore, error_body, running

from atoll.errors import ConfigError, UnavailableError


def certificate(folder: Path, host: str = "127.0.0.1", days: int = 10) -> ssl.SSLContext:
    """A server's context with a certificate of an authority whose own is in ca.pem."""
    now = datetime.now(UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def signed(
        name: str, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType, end: datetime
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            named("authority"), named(name), key.public_key(), x509.random_serial_number()
        )
        builder = builder.not_valid_before(now - timedelta(days=30)).not_valid_after(end)
        return builder.add_extension(extension, critical=True).sign(authority_key, hashes.SHA256())

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = signed(
        "authority", authority_key, x509.BasicConstraints(ca=True, path_length=None), now + timedelta(days=10)
    )
    name: x509.GeneralName = x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
    server = signed("server", key, x509.SubjectAlternativeName([name]), now + timedelta(days=days))
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(
        server.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[XmlStore]:
    with running(certificate(tmp_path)) as store:
        store.objects["r/m/1/x"] = b"x"
        yield store


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_of_ones_own(secure: XmlStore, opened: Opener, tmp_path: Path, variable: str) -> None:
    assert opened(f"s3://{secure.address}/models/r", {**AWS, variable: str(tmp_path / "ca.pem")}).names() == ["m"]


def test_an_unknown_authority(secure: XmlStore, opened: Opener) -> None:
    with pytest.raises(UnavailableError, match=r"TLS: the server's certificate is not of an authority.*AWS_CA_BUNDLE"):
        opened(f"s3://{secure.address}/models/r").names()


@pytest.mark.parametrize(
    ("host", "days", "expected"),
    [("elsewhere.example", 10, "is for another host name"), ("127.0.0.1", -1, "is not valid now")],
)
def test_wrong_certificates(opened: Opener, tmp_path: Path, host: str, days: int, expected: str) -> None:
    expected = f"TLS: the server's certificate {expected}"
    with running(certificate(tmp_path, host, days)) as store, pytest.raises(UnavailableError, match=expected):
        opened(f"s3://{store.address}/models/r", {**AWS, "AWS_CA_BUNDLE": str(tmp_path / "ca.pem")}).names()


def test_plain_http_where_tls_is_expected(xml_store: XmlStore, opened: Opener) -> None:
    address = xml_store.address.replace("http://", "https://")
    with pytest.raises(UnavailableError, match="TLS: the server does not speak it on this port; write http://"):
        opened(f"s3://{address}/models/r").names()


def test_tls_where_plain_http_is_expected(secure: XmlStore, opened: Opener) -> None:
    with pytest.raises(UnavailableError, match="failed: "):
        opened(f"s3://{secure.address.removeprefix('https://')}/models/r").names()


def test_a_bundle_that_is_not_there(opened: Opener) -> None:
    with pytest.raises(ConfigError, match="AWS_CA_BUNDLE names /no/such, which cannot be read: No such file"):
        opened("s3://https://127.0.0.1:9/models/r", {**AWS, "AWS_CA_BUNDLE": "/no/such"}).names()


def test_web_identity(secure: XmlStore, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Kubernetes: a token in a file is changed for keys at AWS's token service."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", secure.address)
    (tmp_path / "token").write_text("jwt")
    config = tmp_path / "config"
    config.write_text(f"[profile web]\nweb_identity_token_file = {tmp_path}/token\nrole_arn = arn:aws:iam::1:role/r\n")
    keys = (
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
        "<SessionToken>of-role</SessionToken><SecretAccessKey>s</SecretAccessKey>"
        "<Expiration>2999-01-01T00:00:00Z</Expiration><AccessKeyId>assumed</AccessKeyId>"
        "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )

    def decide(asked: Asked) -> Fault | None:
        return Fault(200, keys) if asked.method == "POST" else None

    secure.decide = decide
    location = f"s3://{secure.address}/models/r"
    environment = {"AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "web", "AWS_CA_BUNDLE": str(tmp_path / "ca.pem")}
    assert opened(location, environment).names() == ["m"]
    assert "Credential=assumed/" in secure.asked[-1].headers["authorization"]
    secure.decide = lambda asked: Fault(403, error_body("AccessDenied")) if asked.method == "POST" else None
    with pytest.raises(UnavailableError, match="no credentials could be had; they come from the AWS profile 'web'"):
        opened(location, environment).names()
