"""When a model's files have come to rest: a model that is still being copied is never taken for a new one.

Pure: the poll loop looks at the files and brings the time. How long files must rest is the caller's choice; nothing on
a disk says whether a copy that pauses for longer than that has ended.
"""

from collections.abc import Mapping

from atoll.repositories.fingerprint import Changes, changed_versions


class Watch:
    """The files of one model, over time.

    `known`: the files as they were when their state was last acted upon; None before the first time. A folder without
    files is a model too, a wrong one, and is said once.
    """

    def __init__(self, settle_ns: int, known: Mapping[str, str] | None = None) -> None:
        self.settle_ns = settle_ns
        self.known: Mapping[str, str] | None = None if known is None else dict(known)
        self._seen: Mapping[str, str] = {}
        self._since_ns: int | None = None  # when `_seen` was first seen; None while it is `known`

    @property
    def unsettled(self) -> bool:
        """The files differ from what is known, and have not yet rested long enough."""
        return self._since_ns is not None

    def observe(self, files: Mapping[str, str], now_ns: int) -> Changes | None:
        """What changed since `known` (all of it, the first time), once it has been the same for `settle_ns`; None while
        there is nothing to do.

        `files` is what `Repository.files` said at `now_ns`; empty where the model is gone. A change is returned once:
        from then on `known` is what was seen, whether or not a model could be loaded from it, so that a wrong model is
        tried again when somebody touches it and not at every poll.
        """
        if files == self.known:
            self._since_ns = None
            return None
        if self._since_ns is None or files != self._seen:
            self._seen, self._since_ns = dict(files), now_ns
        if now_ns - self._since_ns < self.settle_ns:
            return None
        changes = changed_versions(self.known or {}, self._seen)
        if self.known is None:
            changes = Changes(True, changes.versions)
        self.known, self._since_ns = self._seen, None
        return changes
