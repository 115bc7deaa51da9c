"""With which credentials and where an object store is asked: Triton's file and variables, then the usual chain.

For a location the first of these decides: the file that TRITON_CLOUD_CREDENTIAL_PATH names (its longest matching
prefix), the environment's keys, the profile of ~/.aws, and what obstore finds by itself (web identity, container and
instance metadata, Google's application default credentials, Azure's identities).
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.errors import ConfigError
from atoll.repositories.aws_profile import AwsKeys, read_profile, text_of
from atoll.repositories.object_location import ObjectLocation, Service

logger = logging.getLogger(__name__)

CREDENTIAL_FILE = "TRITON_CLOUD_CREDENTIAL_PATH"
KNOWN_KEYS = {
    Service.S3: {"key_id", "secret_key", "session_token", "region", "profile"},
    Service.AZURE: {"account_str", "account_key"},
}


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a location's store.

    `config` is obstore's for the service, `keys` are fixed keys of AWS, which obstore must not mix with those of the
    process's environment. `source` says in words where the credentials come from. Credentials are not in the repr.
    """

    source: str
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    keys: AwsKeys | None = field(default=None, repr=False)
    endpoint: str = ""
    root_certificate: bytes = field(default=b"", repr=False)


def connection(location: ObjectLocation, text: str, environment: Mapping[str, str]) -> Connection:
    """How to reach `location`, which the operator wrote as `text`. Raises ConfigError."""
    entry = _credential_entry(location.service, text, environment)
    if location.service is Service.S3:
        made = _s3(location, entry, environment)
    elif location.service is Service.GCS:
        made = _gcs(location, entry, environment)
    else:
        made = _azure(location, entry, environment)
    return made


def _credential_entry(service: Service, text: str, environment: Mapping[str, str]) -> tuple[str, Any] | None:
    """The prefix and the value of the credential file's entry for this location; None where there is no such file."""
    name = environment.get(CREDENTIAL_FILE, "")
    if not name:
        return None
    path = Path(name)
    try:
        document = json.loads(text_of(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{CREDENTIAL_FILE} names {path}, which cannot be read as JSON: {_why(error)}") from None
    section = document.get(service.value, {}) if isinstance(document, dict) else None
    if not isinstance(section, dict):
        raise ConfigError(
            f'{path} ({CREDENTIAL_FILE}): expected {{"{service.value}": {{"PREFIX": ...}}}}, an object of objects'
        )
    matching = [prefix for prefix in section if text.startswith(prefix)]
    if not matching:
        raise ConfigError(
            f"Cannot match credential for path  {text}: {path} ({CREDENTIAL_FILE}) has no prefix of it under "
            f'"{service.value}"; add one, or "" for all others'
        )
    prefix = max(matching, key=len)
    return prefix, _checked(service, path, prefix, section[prefix])


def _checked(service: Service, path: Path, prefix: str, value: Any) -> Any:
    where = f'{path} ({CREDENTIAL_FILE}), "{service.value}", "{prefix}"'
    if service is Service.GCS:
        if not isinstance(value, str):
            raise ConfigError(f"{where}: expected the path of a service account's key file, a string")
        return value
    known = KNOWN_KEYS[service]
    if not isinstance(value, dict) or not all(isinstance(value.get(key, ""), str) for key in known):
        raise ConfigError(f"{where}: expected an object of strings with the keys {', '.join(sorted(known))}")
    unknown = sorted(value.keys() - known)
    if unknown:  # Triton takes such files
        logger.warning(
            "%s: unknown key '%s' is ignored; known are %s", where, unknown[0][:80], ", ".join(sorted(known))
        )
    return {key: value.get(key, "") for key in known}


def _entry_source(prefix: str) -> str:
    return f"they come from {CREDENTIAL_FILE}, " + (f"entry '{prefix}'" if prefix else "its entry for all locations")


def _s3(location: ObjectLocation, entry: tuple[str, Any] | None, environment: Mapping[str, str]) -> Connection:
    prefix, value = entry or ("", {})
    source = ""
    keys = None
    profile = None
    if value.get("profile"):
        profile = read_profile(value["profile"], environment, demanded=True)
        source = f"{_entry_source(prefix)}, profile '{value['profile']}'"
    elif value.get("key_id") and value.get("secret_key"):
        keys = AwsKeys(value["key_id"], value["secret_key"], value.get("session_token", ""))
        source = _entry_source(prefix)
    elif value.get("key_id") or value.get("secret_key"):
        raise ConfigError(f"{CREDENTIAL_FILE}, entry '{prefix}': key_id and secret_key must be given together")
    elif environment.get("AWS_ACCESS_KEY_ID") or environment.get("AWS_SECRET_ACCESS_KEY"):
        if not (environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY")):
            raise ConfigError(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together: one of them is missing"
            )
        keys = AwsKeys(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            environment.get("AWS_SESSION_TOKEN", ""),
        )
        source = "they come from AWS_ACCESS_KEY_ID"
    else:
        named = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or ""
        profile = read_profile(named or "default", environment, demanded=bool(named))
        if profile and (profile.keys or profile.config):
            source = f"they come from the AWS profile '{named or 'default'}'"
    config: dict[str, Any] = dict(profile.config) if profile else {}
    config["region"] = (
        value.get("region")
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or (profile.region if profile else "")
        or "us-east-1"
    )
    endpoint = location.endpoint or next(
        (
            environment[name]
            for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
            if environment.get(name)
        ),
        "",
    )
    if endpoint:
        # The more specific of obstore's two settings, so that its variables do not win over the location.
        config["aws_endpoint_url_s3"] = config["endpoint"] = endpoint.rstrip("/")
    if _is_true(environment.get("AWS_SKIP_SIGNATURE", "")) and entry is None:
        return Connection(
            "no credentials are used (AWS_SKIP_SIGNATURE)",
            {**config, "skip_signature": True},
            None,
            endpoint,
            _ca(environment),
        )
    keys = keys or (profile.keys if profile else None)
    if keys:
        config["skip_signature"] = False  # whatever the process's own variables say
    return Connection(
        source or "none were given, so the machine's own identity (web identity, container, instance) was asked",
        config,
        keys,
        endpoint,
        _ca(environment),
    )


def _gcs(location: ObjectLocation, entry: tuple[str, Any] | None, environment: Mapping[str, str]) -> Connection:
    endpoint = location.endpoint
    config: dict[str, Any] = {}
    if entry and entry[1]:
        source = _entry_source(entry[0])
        config["service_account"] = entry[1]
        endpoint = endpoint or _base_url(Path(entry[1]))
    elif environment.get("GOOGLE_APPLICATION_CREDENTIALS"):
        source = "they come from GOOGLE_APPLICATION_CREDENTIALS"
        config["application_credentials"] = environment["GOOGLE_APPLICATION_CREDENTIALS"]
    elif _is_true(environment.get("GOOGLE_SKIP_SIGNATURE", "")) or environment.get("STORAGE_EMULATOR_HOST"):
        source = "no credentials are used (GOOGLE_SKIP_SIGNATURE or STORAGE_EMULATOR_HOST)"
        config["skip_signature"] = True
    else:
        source = "none were given, so the application default credentials and the machine's own identity were asked"
    if not endpoint and environment.get("STORAGE_EMULATOR_HOST"):
        host = environment["STORAGE_EMULATOR_HOST"]
        endpoint = host if "://" in host else f"http://{host}"
    if endpoint:
        config["base_url"] = endpoint.rstrip("/")
    return Connection(source, config, None, endpoint, _ca(environment))


def _base_url(key_file: Path) -> str:
    """The address that an emulator's key file names, so that plain HTTP is allowed for it; "" where it names none."""
    try:
        document = json.loads(text_of(key_file))
    except (OSError, ValueError, RecursionError):
        return ""  # obstore says what is wrong with it
    named = document.get("gcs_base_url") if isinstance(document, dict) else ""
    return named if isinstance(named, str) else ""


def _azure(location: ObjectLocation, entry: tuple[str, Any] | None, environment: Mapping[str, str]) -> Connection:
    value = entry[1] if entry else {}
    account = value.get("account_str") or ("" if entry else environment.get("AZURE_STORAGE_ACCOUNT", ""))
    key = value.get("account_key") or ("" if entry else environment.get("AZURE_STORAGE_KEY", ""))
    if key and account and account != location.account:
        raise ConfigError(
            f"{location.url(location.prefix)} is in the storage account '{location.account}', but the credentials are "
            f"for '{account[:80]}' ({_entry_source(entry[0]) if entry else 'AZURE_STORAGE_ACCOUNT'}); give an entry "
            f"for each account in the file that {CREDENTIAL_FILE} names"
        )
    config: dict[str, Any] = {"account_name": location.account}
    if key:
        config |= {"account_key": key, "credential_type": "access_key"}
        source = _entry_source(entry[0]) if entry else "they come from AZURE_STORAGE_KEY"
    else:
        kind = _azure_identity(environment.get("AZURE_STORAGE_AUTH_TYPE", ""))
        if kind:
            config["credential_type"] = kind
        if environment.get("AZURE_STORAGE_CLIENT_ID"):
            config["client_id"] = environment["AZURE_STORAGE_CLIENT_ID"]
        if kind:
            source = "they come from the identity that AZURE_STORAGE_AUTH_TYPE names"
        elif _is_true(environment.get("AZURE_SKIP_SIGNATURE", "")):
            config["skip_signature"] = True
            source = "no credentials are used (AZURE_SKIP_SIGNATURE)"
        else:
            source = "no key was given, so Azure's own variables and the machine's managed identity were asked"
    endpoint = location.endpoint
    if endpoint:
        by_host = location.account and endpoint.partition("://")[2].startswith(f"{location.account}.blob.")
        config["endpoint"] = endpoint if by_host else f"{endpoint}/{location.account}"
    else:
        endpoint = environment.get("AZURE_STORAGE_ENDPOINT", "")
        if endpoint:
            config["endpoint"] = endpoint.rstrip("/")
    return Connection(source, config, None, endpoint, _ca(environment))


AZURE_IDENTITIES = {
    "": "",
    "default": "auto",
    "defaultazure": "auto",
    "auto": "auto",
    "managedidentity": "managed_identity",
    "msi": "managed_identity",
    "workloadidentity": "workload_identity",
    "clientsecret": "client_secret",
    "azurecli": "azure_cli",
    "sastoken": "sas_token",
}


def _azure_identity(written: str) -> str:
    """obstore's name for what AZURE_STORAGE_AUTH_TYPE says: managed_identity, ManagedIdentityCredential, ..."""
    plain = written.lower().replace("_", "").replace("-", "").removesuffix("credential")
    if plain not in AZURE_IDENTITIES:
        raise ConfigError(
            f"AZURE_STORAGE_AUTH_TYPE is '{written[:80]}': expected default, managed_identity, workload_identity, "
            "client_secret, azure_cli or sas_token"
        )
    return AZURE_IDENTITIES[plain]


def _is_true(written: str) -> bool:
    return written.lower() in ("1", "true", "yes", "on")


def _ca(environment: Mapping[str, str]) -> bytes:
    """The certificates to trust beside the system's own."""
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        path = environment.get(name, "")
        if path:
            try:
                return text_of(Path(path)).encode()
            except (OSError, ValueError) as error:
                raise ConfigError(f"{name} names {path}, which cannot be read: {_why(error)}") from None
    return b""


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
