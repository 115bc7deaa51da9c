"""The contract of a response cache: all that an author of one reads.

A cache is a class that an entry point of the group "atoll.caches" names; the entry point's name is what stands first in
`--cache-config NAME,SETTING=VALUE`. A server has one cache, which all its models share. The built-in ones, local and
redis, come in by the same door.

Day of a cache: the class is called with the settings of the command line and the process's environment; any number of
`lookup` and `insert`, from any threads, several at once; `close`, after which nothing is called.

What is kept is bytes: the server makes them of an answer and reads them again, and takes anything that it cannot read
for a miss. It also decides what is kept at all: final answers that succeeded, of models with `response_cache` enabled.
"""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

Entry: TypeAlias = bytes | bytearray | memoryview


class ResponseCache(Protocol):
    """Thread-safe.

    `blocks`: a call may wait, for a network or a disk. Such a cache is asked on threads of its own, never on an event
    loop. `shared`: entries may come from another server, or from an earlier run of this one. The keys then hold what
    identifies a model's files, so that nobody is answered with what another model of that name said.
    """

    blocks: bool
    shared: bool

    def lookup(self, key: str) -> Entry | None:
        """What was inserted under this key, or None. The bytes must not change afterwards.

        What is raised counts as a miss; of a blocking cache, nothing is asked for a moment then.
        """

    def insert(self, key: str, entry: bytes, ttl_s: float) -> None:
        """Keep an entry, in place of what was under this key; for `ttl_s` seconds at most, 0: as long as there is room.

        A cache may drop what it likes, when it likes. What is raised is logged, and changes nothing.
        """

    def close(self) -> None:
        """Free everything."""


class CacheClass(Protocol):
    """What an entry point names."""

    def __call__(self, settings: Mapping[str, str], environment: Mapping[str, str]) -> ResponseCache:
        """A cache with these settings, as `--cache-config` has them, but for `ttl`, which is the server's.

        Raises InvalidArgumentError naming a setting that is unknown, missing or wrong, MissingExtraError where a
        library is not installed.
        """
