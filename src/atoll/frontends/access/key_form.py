"""How API keys are made, and what is kept of them.

A key is 256 random bits. Of such a secret SHA-256 gives nothing away: what slow, salted hashes are for is passwords,
which can be guessed; and they would cost each request more than the whole rest of it.
"""

import hashlib
import re
import secrets

PREFIX = "atoll_"  # so that scanners for leaked secrets can know one
SHORTEST = 32  # characters of a key that was made elsewhere
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


def new_key() -> str:
    """A key that nobody has: 43 characters behind the prefix, safe in headers and URLs."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> bytes:
    """What is compared."""
    return hashlib.sha256(key.encode()).digest()


def hash_text(key: str) -> str:
    """What stands in the key file: sha256:HEX."""
    return f"sha256:{digest_of(key).hex()}"


def read_hash(text: str) -> bytes | None:
    """The digest; None where the text is none."""
    found = _HASH.fullmatch(text)
    return None if found is None else bytes.fromhex(found[1])
