"""The checksum agent: a model is loaded only if its files are those that its configuration knows.

Each parameter is a file to check: the key names the hash and the file relative to the model's folder, as in
"MD5:1/model.onnx", the value is the hash in hexadecimal. Source: Triton's checksum agent, which knows MD5; the others
are ours. The files are read before the backend reads them again: what changes in between is not noticed.
"""

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath

from atoll.errors import ConfigError
from atoll.repositories.agents.api import Action, AgentModel

_HASHES = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_HEXADECIMAL = frozenset("0123456789abcdef")


class ChecksumAgent:
    """Refuses a model in which a file is missing or is not the expected one; all such files in one error."""

    def act(self, action: Action, model: AgentModel) -> Path | None:
        """Checks at LOAD. Raises ConfigError naming each file, what was expected and what was found."""
        if action is not Action.LOAD:
            return None
        if not model.parameters:
            raise ConfigError(
                f"the checksum agent of model '{model.name}' has nothing to check; give it a parameter for each file: "
                'key "SHA256:1/model.onnx", value the hash in hexadecimal'
            )
        wrong = [_compared(model.directory, key, value) for key, value in model.parameters.items()]
        found = [text for text in wrong if text]
        if found:
            raise ConfigError(f"the checksum agent refuses model '{model.name}': " + "; ".join(found))
        return None


def _compared(directory: Path, key: str, value: str) -> str:
    """What is wrong with one file; empty where it is the expected one."""
    kind, colon, name = key.partition(":")
    algorithm = _HASHES.get(kind.strip().upper()) if colon else None
    if algorithm is None:
        return f"parameter '{key}' names no known hash; write one of {', '.join(_HASHES)}, a colon and the file"
    expected = value.strip().lower()
    digits = hashlib.new(algorithm, usedforsecurity=False).digest_size * 2
    if len(expected) != digits or not _HEXADECIMAL.issuperset(expected):
        return f"the value of parameter '{key}' is '{value}'; expected {digits} hexadecimal digits"
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        return f"parameter '{key}' must name a file by its path inside of the model's folder"
    file = directory / path
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            return f"'{file}' of parameter '{key}' is not a file"
        with open(file, "rb") as reading:
            # Sums are there to find damage; nobody's security hangs on MD5 here, which some systems would refuse.
            digest = hashlib.file_digest(reading, lambda: hashlib.new(algorithm, usedforsecurity=False))
    except (OSError, ValueError) as error:
        return f"cannot read '{file}' of parameter '{key}': {getattr(error, 'strerror', None) or error}"
    got = digest.hexdigest()
    if got == expected:
        return ""
    return (
        f"Mismatched {kind.strip().upper()} hash for file {name}, expect: {expected}, got: {got}; restore the file, or "
        "correct the parameter if the file is the right one"
    )
