"""The file of API keys, which whoever edits it may break."""

from collections.abc import Mapping
from functools import partial

from tests.fuzz.target import Target, outcome

from atoll.errors import UnauthenticatedError
from atoll.frontends.access.key_file import MAX_RATE, read_key_file
from atoll.frontends.access.keys import SCOPES, KeyTable
from atoll.frontends.apis import Api


def key_file(data: bytes) -> None:
    """Keys that are read are complete, no two are the same, and each can be asked; the others are told of."""
    text = data.decode("utf-8", "replace")
    found = outcome(lambda: read_key_file(text, "keys"))
    if found and isinstance(found[0], type):
        return
    assert len({one.digest for one in found}) == len({one.name for one in found}) == len(found)
    table = KeyTable(found)
    assert len(table) == len(found)
    for one in found:
        assert one.name
        assert len(one.digest) == 32
        assert set(one.scopes) <= set(SCOPES)
        assert one.rate is None or (0 < one.rate.requests_per_second <= MAX_RATE and one.rate.burst >= 1)
        key = table.find(one.digest)
        assert key is not None
        outcome(partial(key.check, Api.INFERENCE, "m"))
        first, second = outcome(key.admit), outcome(key.admit)
        assert first is None or first[0] is UnauthenticatedError
        assert second is None or first is None or second[0] is UnauthenticatedError


_HASH = "sha256:" + "0a" * 32
_FILES = (
    f"keys:\n  - name: a\n    hash: {_HASH}\n    models: ['res*', b]\n    scopes: [admin, trace]\n"
    f"    requests_per_second: 2.5\n    burst: 3\n    expires: 2030-01-31T12:00:00Z\n".encode(),
    f'{{"keys":[{{"name":"a","hash":"{_HASH}","expires":"0001-01-01T00:00:00+14:00"}}]}}'.encode(),
    b"keys: &a\n  - *a\n",
    b"keys:\n  - {name: a, hash: sha256:0}\n  - name: 7\n",
)


TARGETS: Mapping[str, Target] = {"key_file": Target(key_file, _FILES)}
