"""Which credentials are used: Triton's file and variables, profiles, in the documented order; and wrong ones."""

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cloud.stand_ins import Opener
from tests.cloud.xml_store import Asked, Fault, XmlStore

from atoll.errors import ConfigError, MissingExtraError, UnavailableError
from atoll.repositories import aws_profile
from atoll.repositories.aws_profile import MAX_FILE_BYTES, AwsKeys
from atoll.repositories.credentials import Connection, connection
from atoll.repositories.object_location import parse_location

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "env",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_SESSION_TOKEN": "t",
    "AWS_DEFAULT_REGION": "r1",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = default\naws_secret_access_key = s\n"
        "[other]\nAWS_ACCESS_KEY_ID = other\naws_secret_access_key = a%b=c\naws_session_token = t\n"
        "[half]\naws_access_key_id = x\n"
    )
    (tmp_path / ".aws" / "config").write_text(
        "[default]\nregion = eu-default\n[profile other]\nregion = eu-other\ns3 =\n  max_concurrent_requests = 20\n"
        "[profile web]\nweb_identity_token_file = /token\nrole_arn = arn:aws:iam::1:role/r\n"
        "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = nobody\n"
    )
    return tmp_path


def credential_file(folder: Path, content: Any) -> dict[str, str]:
    path = folder / "triton.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return {"TRITON_CLOUD_CREDENTIAL_PATH": str(path), "HOME": str(folder)}


def found(location: str, environment: dict[str, str]) -> Connection:
    return connection(parse_location(location), location, environment)


def key(location: str, environment: dict[str, str]) -> str | None:
    keys = found(location, environment).keys
    return keys.key_id if keys else None


def test_the_environments_keys_come_before_profiles(home: Path) -> None:
    one = found("s3://b/x", {**ENVIRONMENT, "HOME": str(home), "AWS_PROFILE": "other"})
    assert one.keys is not None
    assert (one.keys.key_id, one.keys.secret_key, one.keys.session_token) == ("env", "s", "t")
    assert one.config["region"] == "r1"
    assert one.source == "they come from AWS_ACCESS_KEY_ID"


def test_profiles(home: Path) -> None:
    one = found("s3://b/x", {"HOME": str(home)})
    assert one.keys is not None
    assert (one.keys.key_id, one.config["region"]) == ("default", "eu-default")
    other = found("s3://b/x", {"HOME": str(home), "AWS_PROFILE": "other"})
    assert other.keys is not None
    assert (other.keys.key_id, other.keys.secret_key, other.keys.session_token) == ("other", "a%b=c", "t")
    assert other.config["region"] == "eu-other"
    assert other.source == "they come from the AWS profile 'other'"
    assert found("s3://b/x", {"HOME": str(home), "AWS_PROFILE": "other", "AWS_REGION": "r"}).config["region"] == "r"
    moved = {
        "AWS_SHARED_CREDENTIALS_FILE": str(home / ".aws" / "credentials"),
        "AWS_CONFIG_FILE": "/none",
        "HOME": "/none",
    }
    assert key("s3://b/x", {**moved, "AWS_PROFILE": "other"}) == "other"


def test_a_profile_with_web_identity(home: Path) -> None:
    one = found("s3://b/x", {"HOME": str(home), "AWS_PROFILE": "web"})
    assert one.keys is None
    assert one.config["web_identity_token_file"] == "/token"
    assert one.config["role_arn"] == "arn:aws:iam::1:role/r"


def test_profiles_that_need_a_call_to_aws_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"HOME": str(home), "AWS_PROFILE": "role"}
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / ".aws" / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / ".aws" / "credentials"))
    with pytest.raises(ConfigError, match=r"the AWS profile 'role' gave no credentials by 'role_arn': .*nobody"):
        found("s3://b/x", environment)
    monkeypatch.setattr("atoll.repositories.aws_profile.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match="the AWS profile 'role' gets its credentials by 'role_arn', which takes botocore"
    ):
        found("s3://b/x", environment)


def test_credentials_by_a_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {
        "Version": 1,
        "AccessKeyId": "processed",
        "SecretAccessKey": "s",
        "SessionToken": "t",
        "Expiration": "2999-01-01T00:00:00Z",
    }
    (home / "answer.json").write_text(json.dumps(answer))
    config = home / ".aws" / "config"
    config.write_text(f"[profile called]\ncredential_process = cat {home}/answer.json\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    one = found("s3://b/x", {"HOME": str(home), "AWS_PROFILE": "called"})
    assert one.keys is not None
    assert (one.keys.key_id, one.keys.session_token) == ("processed", "t")
    assert one.keys.expires_at is not None
    assert one.keys.expires_at.year == 2999


def test_nothing_is_given() -> None:
    one = found("s3://b/x", {"HOME": "/nonexistent"})
    assert one.keys is None
    assert one.config == {"region": "us-east-1"}
    assert "machine's own identity" in one.source


def test_the_longest_prefix_of_the_credential_file_decides(home: Path) -> None:
    section = {
        prefix: {"key_id": name, "secret_key": "s", "region": f"r-{name}"}
        for prefix, name in {
            "": "any",
            "s3://b": "bucket",
            "s3://b/x/y": "path",
            "s3://https://h:1/b": "endpoint",
        }.items()
    }
    environment = {**ENVIRONMENT, **credential_file(home, {"s3": section})}
    assert key("s3://b/x", environment) == "bucket"
    assert key("s3://b/x/y/z", environment) == "path"
    assert key("s3://c/x", environment) == "any"
    assert key("s3://https://h:1/b/x", environment) == "endpoint"
    one = found("s3://b/x", environment)
    assert one.config["region"] == "r-bucket"
    assert one.keys is not None
    assert one.keys.session_token == ""
    assert one.source == "they come from TRITON_CLOUD_CREDENTIAL_PATH, entry 's3://b'"


def test_a_profile_of_the_credential_file(home: Path) -> None:
    environment = {**ENVIRONMENT, **credential_file(home, {"s3": {"": {"profile": "other"}}})}
    assert key("s3://b/x", environment) == "other"
    environment = credential_file(home, {"s3": {"": {"profile": "nobody"}}})
    with pytest.raises(ConfigError, match="the AWS profile 'nobody' is neither in"):
        found("s3://b/x", environment)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("x" * (MAX_FILE_BYTES + 1), "more than"),
        ([], "expected"),
        ({"s3": []}, "an object of objects"),
        ({"gs": {"": "x"}}, "Cannot match credential for path  s3://b/x"),
        ({"s3": {"s3://c": {}}}, "Cannot match credential for path  s3://b/x"),
        ({"s3": {"": "x"}}, "expected an object of strings with the keys key_id, profile, region, secret_key"),
        ({"s3": {"": {"key_id": 1}}}, "expected an object of strings"),
        ({"s3": {"": {"key_id": "x"}}}, "key_id and secret_key must be given together"),
    ],
)
def test_credential_files_that_are_wrong(home: Path, content: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        found("s3://b/x", credential_file(home, content))
    assert len(str(caught.value)) < 500


def test_keys_that_triton_does_not_know_are_ignored_and_said(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry = {"key_id": "k", "secret_key": "hidden", "keyid": "hidden", "number": 1}
    assert key("s3://b/x", credential_file(home, {"s3": {"": entry}})) == "k"
    assert "unknown key 'keyid' is ignored; known are key_id, profile, region, secret_key, session_token" in caplog.text
    assert "hidden" not in caplog.text


def test_a_credential_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"TRITON_CLOUD_CREDENTIAL_PATH names /no/such, .*: No such file"):
        found("s3://b/x", {"TRITON_CLOUD_CREDENTIAL_PATH": "/no/such"})


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_pair_of_keys(name: str) -> None:
    with pytest.raises(ConfigError, match="must be set together"):
        found("s3://b/x", {name: "x", "HOME": "/nonexistent"})


@pytest.mark.parametrize(
    ("text", "expected"), [("secret = x\n", "line 1 is before any"), ("[a]\nsecret\n", "line 2 has no 'name = value'")]
)
def test_profile_files_that_are_wrong_are_not_repeated(home: Path, text: str, expected: str) -> None:
    (home / ".aws" / "credentials").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        found("s3://b/x", {"HOME": str(home)})
    assert "secret" not in str(caught.value)


def test_half_a_profile(home: Path) -> None:
    with pytest.raises(ConfigError, match="the AWS profile 'half' needs both"):
        found("s3://b/x", {"HOME": str(home), "AWS_PROFILE": "half"})


def test_a_public_bucket() -> None:
    one = found("s3://b/x", {"AWS_SKIP_SIGNATURE": "true", "HOME": "/nonexistent"})
    assert one.config["skip_signature"] is True


def test_azure_accounts_and_identities(home: Path) -> None:
    keys = {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": "k"}
    assert found("as://acc/c/x", keys).config == {
        "account_name": "acc",
        "account_key": "k",
        "credential_type": "access_key",
    }
    with pytest.raises(ConfigError, match=r"in the storage account 'other', but the credentials are for 'acc' \(AZURE"):
        found("as://other/c/x", keys)
    both = credential_file(
        home, {"as": {"": {"account_str": "acc", "account_key": "k"}, "as://other": {"account_key": "o"}}}
    )
    assert found("as://other/c/x", {**keys, **both}).config["account_key"] == "o"
    managed = found(
        "as://acc/c/x", {"AZURE_STORAGE_AUTH_TYPE": "ManagedIdentityCredential", "AZURE_STORAGE_CLIENT_ID": "id"}
    )
    assert managed.config == {"account_name": "acc", "credential_type": "managed_identity", "client_id": "id"}
    assert found("as://acc/c/x", {"AZURE_STORAGE_AUTH_TYPE": "default"}).config["credential_type"] == "auto"
    with pytest.raises(ConfigError, match="AZURE_STORAGE_AUTH_TYPE is 'magic': expected default, managed_identity"):
        found("as://acc/c/x", {"AZURE_STORAGE_AUTH_TYPE": "magic"})
    assert found("as://acc/c/x", {"AZURE_SKIP_SIGNATURE": "1"}).config["skip_signature"] is True


def test_azure_endpoints() -> None:
    assert found("as://http://h:1/acc/c/x", {}).config["endpoint"] == "http://h:1/acc"
    host = "https://acc.blob.core.windows.net"
    assert found(f"as://{host}/c/x", {}).config["endpoint"] == host
    assert found("as://acc/c/x", {"AZURE_STORAGE_ENDPOINT": "http://e:1/acc/"}).config["endpoint"] == "http://e:1/acc"


def test_google_credentials(home: Path) -> None:
    section = {"": "/any.json", "gs://b": "/b.json"}
    one = found("gs://b/x", credential_file(home, {"gs": section}))
    assert one.config == {"service_account": "/b.json"}
    assert found("gs://c/x", credential_file(home, {"gs": section})).config == {"service_account": "/any.json"}
    assert found("gs://b/x", {"GOOGLE_APPLICATION_CREDENTIALS": "/g"}).config == {"application_credentials": "/g"}
    assert found("gs://b/x", {}).config == {}
    with pytest.raises(ConfigError, match="expected the path of a service account's key file, a string"):
        found("gs://b/x", credential_file(home, {"gs": {"": {}}}))


def test_secrets_are_not_in_reprs(home: Path) -> None:
    one = found(
        "s3://b/x",
        {"HOME": str(home), "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_SESSION_TOKEN": "hidden"},
    )
    assert "hidden" not in repr(one)
    assert "hidden" not in repr(one.keys)


def test_what_is_found_signs_the_requests(
    xml_store: XmlStore, opened: Opener, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of two sources are never mixed: the process's own token does not go with another's keys."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "process")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "process")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "process")
    location = f"s3://{xml_store.address}/models"
    entry = {"key_id": "filed", "secret_key": "s", "region": "ap-x"}
    opened(location, credential_file(home, {"s3": {"": entry}})).names()
    signed = xml_store.asked[-1].headers
    assert "Credential=filed/" in signed["authorization"]
    assert "/ap-x/s3/" in signed["authorization"]
    assert "x-amz-security-token" not in signed
    opened(location, {"HOME": str(home), "AWS_PROFILE": "other"}).names()
    signed = xml_store.asked[-1].headers
    assert "Credential=other/" in signed["authorization"]
    assert signed["x-amz-security-token"] == "t"
    opened(location, {"HOME": "/nonexistent", "AWS_SKIP_SIGNATURE": "true"}).names()
    assert "authorization" not in xml_store.asked[-1].headers


def test_the_machines_own_identity(xml_store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance of EC2: a token, the name of its role, and the role's keys, from its metadata service."""
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", xml_store.address)
    role = {
        "AccessKeyId": "role",
        "SecretAccessKey": "s",
        "Token": "of-role",
        "Expiration": "2999-01-01T00:00:00Z",
        "Code": "Success",
    }
    answers = {
        "api/token": "token",
        "meta-data/iam/security-credentials/": "name-of-role",
        "meta-data/iam/security-credentials/name-of-role": json.dumps(role),
    }
    xml_store.decide = lambda asked: Fault(200, answers[asked.key]) if asked.key in answers else None
    opened(f"s3://{xml_store.address}/models", {"HOME": "/nonexistent"}).names()
    signed = xml_store.asked[-1].headers
    assert "Credential=role/" in signed["authorization"]
    assert signed["x-amz-security-token"] == "of-role"


def test_a_machine_without_an_identity(xml_store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", xml_store.address)
    xml_store.decide = lambda asked: Fault(404)
    with pytest.raises(
        UnavailableError, match=r"no credentials could be had; none were given.*AWS_SKIP_SIGNATURE=true"
    ):
        opened(f"s3://{xml_store.address}/models", {"HOME": "/nonexistent"}).names()


def test_an_azure_managed_identity(xml_store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"{xml_store.address}/metadata/identity/oauth2/token")
    token = {"access_token": "of-identity", "expires_on": "32503680000", "token_type": "Bearer", "resource": "x"}

    def decide(asked: Asked) -> Fault:
        if asked.key.startswith("identity"):
            return Fault(200, json.dumps(token))
        return Fault(200, "<EnumerationResults><Blobs></Blobs></EnumerationResults>")

    xml_store.decide = decide
    environment = {"AZURE_STORAGE_AUTH_TYPE": "managed_identity", "AZURE_STORAGE_CLIENT_ID": "me"}
    assert opened(f"as://{xml_store.address}/acc/container", environment).names() == []
    assert xml_store.asked[0].query["client_id"] == "me"
    assert xml_store.asked[-1].headers["authorization"] == "Bearer of-identity"


def test_keys_that_expire_are_fetched_again(
    xml_store: XmlStore, opened: Opener, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def fetch(name: str, needs: str) -> AwsKeys:
        fetched.append(f"{name}-{len(fetched)}")
        return AwsKeys(fetched[-1], "s", "t", datetime.now(UTC) + timedelta(seconds=1))

    monkeypatch.setattr(aws_profile, "_keys_by_botocore", fetch)
    repository = opened(f"s3://{xml_store.address}/models", {"HOME": str(home), "AWS_PROFILE": "role"})
    signed: set[str] = set()
    for _ in range(500):
        repository.names()
        signed.add(xml_store.asked[-1].headers["authorization"].partition("Credential=")[2].partition("/")[0])
        if len(signed) > 1:
            break
        time.sleep(0.01)
    assert len(signed) > 1
    assert signed <= set(fetched)


def test_without_obstore(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    repository = opened("s3://bucket/models")
    for call in (
        repository.names,
        lambda: repository.folder("m"),
        lambda: repository.files("m"),
        repository.server_config,
    ):
        with pytest.raises(MissingExtraError, match=r"need obstore: pip install 'atoll\[cloud\]'"):
            call()
