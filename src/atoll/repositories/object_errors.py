"""What went wrong between us and an object store, in plain words and with what to do: one table.

obstore's errors are pages of nested Rust values in which the cause is a word or a code near the end; the table looks
for those. Nothing of the store's answer is repeated but its error code and, where access is denied, its message.
"""

import re
from dataclasses import dataclass

from atoll.errors import AtollError, ConfigError, NotFoundError, UnavailableError
from atoll.repositories.object_location import ObjectLocation, Service


class ObjectChangedError(UnavailableError):
    """The object is no longer what the listing said: list again."""


class TransientStoreError(UnavailableError):
    """Trying again soon may help: the connection broke off, the store was busy."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One row: where `pattern` is found in an error's text, this is what happened and what to do.

    `again`: trying again soon may help. `denied`: other credentials may help.
    """

    pattern: str
    text: str
    remedy: str
    error: type[AtollError] = UnavailableError
    again: bool = False
    denied: bool = False


STORE_IS_UP = "check that the address is right and that the store is up"
CHECK_NAME = "check the name in the repository's location"
LATER = "try again later"
BROKE_OFF = "try again; if it stays so, look at the network and at proxies on the way"
CA_BUNDLE = "name its authority's certificate, PEM, by AWS_CA_BUNDLE or SSL_CERT_FILE"
CERTIFICATE = "TLS: the server's certificate is"
CODES = r"<Code>({})\w*<"  # as the services write them


def _codes(*codes: str) -> str:
    return CODES.format("|".join(codes))


# The first row that matches counts: codes of the services first, then HTTP statuses, then what happens below HTTP.
CAUSES = (
    Cause(
        r"Unable to (open|decode) service account file|Error reading pem file|CryptoProvider",
        "the key file of the service account cannot be used{file}",
        "{source}; it must be the JSON of a service account, or of an authorized user",
        denied=True,
    ),
    Cause(
        # Repositories only ever GET and HEAD: other requests are obstore's own, for credentials.
        r"169\.254\.\d+\.\d+|/latest/(api|meta-data)/|/computeMetadata/|/metadata/identity/|token request|"
        r"performing (POST|PUT) |[Cc]redential error|Credential \{",
        "no credentials could be had",
        "{source}; {ways}",
        denied=True,
    ),
    Cause(
        r"InvalidPath(Error)?\b", "an object there has a name that no file can have", "rename the object", ConfigError
    ),
    Cause(r"PreconditionError|\b412 ", "the object was changed meanwhile", "", ObjectChangedError, again=True),
    Cause(_codes("NoSuchBucket", "ContainerNotFound"), "no such {bucket}", CHECK_NAME, NotFoundError),
    Cause(_codes("ContainerBeingDeleted"), "the {bucket} is being deleted", CHECK_NAME, NotFoundError),
    Cause(
        _codes("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")
        + r"|\b301 |incorrectly configured region",
        "the bucket is in another region{region}",
        "set AWS_DEFAULT_REGION, or `region` in the credential file",
    ),
    Cause(_codes("RequestTimeTooSkewed"), "this machine's clock differs too much from the store's", "set the clock"),
    Cause(
        _codes("ExpiredToken", "TokenRefreshRequired"),
        "the credentials have expired",
        "renew them; {source}",
        denied=True,
    ),
    Cause(_codes("InvalidObjectState", "BlobArchived"), "the object is archived", "restore it, or copy it elsewhere"),
    Cause(
        _codes("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity", "Authentication")
        + "|"
        + _codes("AuthorizationFailure", "InvalidAuthenticationInfo")
        + "|InvalidAccessKey|Invalid Access Key",
        "the credentials are refused{code}",
        "check key and secret; {source}",
        denied=True,
    ),
    Cause(
        _codes("AccessDenied", "AllAccessDisabled", "AccountProblem", "InsufficientAccountPermissions")
        + r"|PermissionDenied|\b403 ",
        "access denied{message}",
        "grant the right to list and to read; {source}",
        denied=True,
    ),
    Cause(r"Unauthenticated|\b401 ", "the store asks for credentials", "{ways}; {source}", denied=True),
    Cause(
        _codes("NoSuchKey", "BlobNotFound") + r"|FileNotFoundError|\b404 ",
        "no such object",
        "check the repository's location, and that nothing deletes the model",
        NotFoundError,
    ),
    Cause(r"\b407 ", "a proxy on the way asks for credentials", "check HTTPS_PROXY and NO_PROXY"),
    Cause(
        _codes("SlowDown", "ServerBusy", "TooManyRequests") + r"|\b(429|503) ",
        "the store is overloaded and asks to slow down",
        LATER,
        again=True,
    ),
    Cause(r"non-2xx status code: 5\d\d", "the store failed{status}", LATER, again=True),
    Cause(
        r"dns error|failed to lookup address",
        "its host name is unknown",
        "check the host in the repository's location, and this machine's DNS",
        again=True,
    ),
    Cause(r"ConnectionRefused|Connection refused", "connection refused", STORE_IS_UP, again=True),
    Cause(r"NetworkUnreachable|HostUnreachable", "the host cannot be reached", "check the network", again=True),
    Cause(
        r"UnknownIssuer|SelfSigned|self.signed|CaUsedAsEndEntity|BadSignature|InvalidPurpose",
        CERTIFICATE + " not of an authority known here",
        CA_BUNDLE,
    ),
    Cause(r"NotValidForName", CERTIFICATE + " for another host name", "use the host name of the certificate"),
    Cause(
        r"CertExpired|\bExpired|NotValidYet", CERTIFICATE + " not valid now", "renew it, or set this machine's clock"
    ),
    Cause(
        r"InvalidMessage|InvalidContentType|WrongVersionNumber",
        "TLS: the server does not speak it on this port",
        "write http:// instead of https:// in the location, or correct the port",
    ),
    Cause(
        r"InvalidCertificate|AlertReceived|HandshakeFailure|\b(tls|TLS|Tls)\b",
        "TLS: no secure connection came about",
        "check the server's certificate and its TLS version",
    ),
    Cause(r"TimedOut|Timeout|timed out|deadline", "timed out", STORE_IS_UP, again=True),
    Cause(
        r"ConnectionReset|BrokenPipe|IncompleteMessage|UnexpectedEof|ConnectionAborted|connection closed|"
        r"IncompleteBody|kind: Body|error decoding response body",
        "the connection broke off",
        BROKE_OFF,
        again=True,
    ),
    Cause(
        r"invalid list response|Invalid\w*Response|missing field|MissingEtag|Header \{|quick_xml|DeError",
        "the answer is not that of an object store",
        "check that host and port are those of the store's API, not of its web console",
    ),
    Cause(r"HTTP error|error sending request", "no connection came about", STORE_IS_UP, again=True),
)

WAYS = {
    Service.S3: "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or TRITON_CLOUD_CREDENTIAL_PATH, or "
    "AWS_SKIP_SIGNATURE=true for a public bucket",
    Service.GCS: "give GOOGLE_APPLICATION_CREDENTIALS or TRITON_CLOUD_CREDENTIAL_PATH, or GOOGLE_SKIP_SIGNATURE=true "
    "for a public bucket",
    Service.AZURE: "give AZURE_STORAGE_KEY, AZURE_STORAGE_AUTH_TYPE=managed_identity or TRITON_CLOUD_CREDENTIAL_PATH, "
    "or AZURE_SKIP_SIGNATURE=true for a public container",
}
MAX_MESSAGE = 240
MAX_UNKNOWN = 300


def cause_of(error: BaseException) -> Cause | None:
    """The table's row for an error of obstore, or None."""
    text = f"{type(error).__name__}: {error}"
    for cause in CAUSES:
        if re.search(cause.pattern, text):
            return cause
    return None


def explain(error: Exception, call: str, location: ObjectLocation, key: str, source: str) -> AtollError:
    """Our error for one of obstore's: which call (list, head, get) on which object failed, why, and what to do.

    `source` says where the credentials came from, never what they are.
    """
    text = str(error)
    what = f"{call} of {location.url(key)} failed"
    cause = cause_of(error)
    if cause is None:
        line = re.sub(r"\?\S*", "", text.partition("\n")[0])
        return UnavailableError(f"{what}: {line[:MAX_UNKNOWN]}")
    if cause.error is ConfigError:
        named = re.search(r'path(?:: | )"((?:[^"\\]|\\.)*)"', text, re.IGNORECASE)
        return ConfigError(f"{what}: {cause.text}{f': {named[1]!a}' if named else ''}; {cause.remedy}")
    facts = {
        "bucket": "container" if location.service is Service.AZURE else "bucket",
        "code": _found(r"<Code>(\w+)<", text, " ({})"),
        "message": _found(r"<Message>([^<\n]*)", text, " ({})"),
        "region": _found(r"<Region>([a-z0-9-]+)<", text, ", {}"),
        "status": _found(r"status code: (\d+)", text, " (HTTP {})"),
        "file": _found(r"service account file(?: from|:)([^\n(\"]*)", text, " ({})"),
        "source": source,
        "ways": WAYS[location.service],
    }
    remedy = cause.remedy.format(**facts)
    kind = TransientStoreError if cause.again and cause.error is UnavailableError else cause.error
    return kind(f"{what}: {cause.text.format(**facts)}{f'; {remedy}' if remedy else ''}")


def _found(pattern: str, text: str, form: str) -> str:
    match = re.search(pattern, text)
    return form.format(match[1].strip()[:MAX_MESSAGE]) if match and match[1].strip() else ""
