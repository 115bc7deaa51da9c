"""A profile of ~/.aws/credentials and ~/.aws/config, as AWS's own tools read it: keys, region, web identity.

What needs a call to AWS first (role_arn with a source profile, SSO, credential_process) is left to botocore where that
is installed, and is an error that says so where it is not.
"""

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from atoll.errors import ConfigError

MAX_FILE_BYTES = 4 << 20  # of credential files and bundles of certificates; real ones have some hundred KiB
NEEDS_BOTOCORE = ("role_arn", "sso_session", "sso_start_url", "credential_process")


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """A key pair of AWS, and the token and the time of expiry that temporary ones have."""

    key_id: str
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AwsProfile:
    """What a profile says. `config` are further settings for obstore (web identity)."""

    keys: AwsKeys | None = None
    region: str = ""
    config: Mapping[str, str] = field(default_factory=dict)


def read_profile(name: str, environment: Mapping[str, str], *, demanded: bool) -> AwsProfile | None:
    """The profile, its keys from the credentials file before those of the config file.

    None where there is no such profile and nobody demanded it. Raises ConfigError.
    """
    home = Path(environment.get("HOME") or Path.home())
    credentials = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials").expanduser()
    settings = Path(environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config").expanduser()
    section = name if name == "default" else f"profile {name}"
    found = {**_section(settings, section), **_section(credentials, name)}
    if not found:
        if not demanded:
            return None
        raise ConfigError(f"the AWS profile '{name}' is neither in {credentials} nor in {settings}")
    region = found.get("region", "")
    if found.get("aws_access_key_id") and found.get("aws_secret_access_key"):
        token = found.get("aws_session_token", "")
        return AwsProfile(AwsKeys(found["aws_access_key_id"], found["aws_secret_access_key"], token), region)
    if found.get("web_identity_token_file") and found.get("role_arn"):
        config = {
            "web_identity_token_file": found["web_identity_token_file"],
            "role_arn": found["role_arn"],
            "role_session_name": found.get("role_session_name", "atoll"),
        }
        return AwsProfile(None, region, config)
    needs = next((key for key in NEEDS_BOTOCORE if found.get(key)), "")
    if needs:
        return AwsProfile(_keys_by_botocore(name, needs), region)
    if demanded and (found.get("aws_access_key_id") or found.get("aws_secret_access_key")):
        raise ConfigError(
            f"the AWS profile '{name}' needs both aws_access_key_id and aws_secret_access_key: one of them is missing"
        )
    return AwsProfile(None, region)


def text_of(path: Path) -> str:
    """A small file's text. Raises OSError, or ValueError where it is too large or not UTF-8."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
    return data.decode()


def _section(path: Path, name: str) -> dict[str, str]:
    """A section's keys in lower case; {} where file or section is missing."""
    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(text_of(path), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except configparser.MissingSectionHeaderError as error:
        raise ConfigError(
            f"{path} cannot be read as an AWS profile file: line {error.lineno} is before any [profile]"
        ) from None
    except configparser.ParsingError as error:
        # The parser's own text repeats the lines, which may be secrets.
        lines = ", ".join(str(number) for number, _ in error.errors[:5])
        raise ConfigError(f"{path} cannot be read as an AWS profile file: line {lines} has no 'name = value'") from None
    except (OSError, ValueError, configparser.Error) as error:
        raise ConfigError(f"{path} cannot be read as an AWS profile file: {type(error).__name__}") from None
    return dict(parser.items(name)) if parser.has_section(name) else {}


def _keys_by_botocore(name: str, needs: str) -> AwsKeys:
    if find_spec("botocore") is None:
        raise ConfigError(
            f"the AWS profile '{name}' gets its credentials by '{needs}', which takes botocore: pip install botocore, "
            "or give AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
        )
    import botocore.session  # type: ignore[import-untyped]

    try:
        found = botocore.session.Session(profile=name).get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    except Exception as error:  # botocore's tree of errors is its own, and any of them means: no credentials
        raise ConfigError(
            f"the AWS profile '{name}' gave no credentials by '{needs}': {type(error).__name__}: {error}"
        ) from None
    if frozen is None:
        raise ConfigError(f"the AWS profile '{name}' gave no credentials by '{needs}'")
    expires = getattr(found, "_expiry_time", None)
    return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token or "", expires)
