"""The host policies of a server: which cores and memory the instances of a group keep to (--host-policy)."""

import logging
import os
import threading
from collections.abc import Sequence

from atoll.config.model_config import ModelInstanceGroup
from atoll.devices.host_policy import HostPolicy, node_cores
from atoll.errors import InvalidArgumentError

logger = logging.getLogger(__name__)

_SETTINGS = ("numa-node", "cpu-cores")
_MOST_CORES = 1 << 16  # more than Linux can be built for


class HostPolicies:
    """`options`: those of --host-policy, NAME,SETTING=VALUE. Raises InvalidArgumentError where one is malformed; that
    what it names is on this machine is looked at when the first instance is to keep to it. Thread-safe.
    """

    def __init__(self, options: Sequence[str]):
        self._settings: dict[str, dict[str, str]] = {}
        self._found: dict[str, HostPolicy] = {}  # those that were asked for
        self._lock = threading.Lock()
        for option in options:
            name, comma, setting = option.partition(",")
            key, equals, value = setting.partition("=")
            if not (name and comma and key and equals and value):
                raise InvalidArgumentError(
                    f"--host-policy option format is '<policy name>,<setting>=<value>'. Got {option}"
                )
            if key not in _SETTINGS:
                raise InvalidArgumentError(
                    f"--host-policy={option}: Unsupported host policy setting '{key}' is specified, supported settings "
                    "are 'numa-node', 'cpu-cores'"
                )
            try:
                _parse(key, value)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"--host-policy={option}: {error}") from None
            self._settings.setdefault(name, {}).setdefault(key, value)

    def of(self, group: ModelInstanceGroup, device: int) -> HostPolicy | None:
        """The policy of a group's instance: the one that the group names, or that of its kind, "cpu", "model", or
        "gpu_0" for the GPU 0; None where nobody has defined it. Raises InvalidArgumentError where it cannot be kept.
        """
        kind = group.kind.name.removeprefix("KIND_").lower()
        name = group.host_policy or (f"gpu_{device}" if kind == "gpu" else kind)
        settings = self._settings.get(name)
        if settings is None:
            return None
        with self._lock:
            found = self._found.get(name)
            if found is None:
                found = self._found[name] = _policy(name, settings)
        return found


def joined(policies: Sequence[HostPolicy | None]) -> HostPolicy | None:
    """What a model as a whole keeps to, where all its instances have policies: any of their cores."""
    known = [one for one in policies if one is not None]
    if not known or len(known) < len(policies):
        return None
    nodes = {one.numa_node for one in known}
    cores = frozenset[int]().union(*(one.cores for one in known))
    return HostPolicy(known[0].name, cores, nodes.pop() if len(nodes) == 1 else None)


def _policy(name: str, settings: dict[str, str]) -> HostPolicy:
    node: int | None = None
    cores: frozenset[int] = frozenset()
    if "numa-node" in settings:
        (node,) = _parse("numa-node", settings["numa-node"])
        try:
            cores = node_cores(node)
        except OSError as error:
            raise InvalidArgumentError(
                f"Unable to set NUMA memory policy: host policy '{name}' has numa-node={node}, which this machine does "
                f"not have ({error.strerror})"
            ) from None
    if "cpu-cores" in settings:
        cores = _parse("cpu-cores", settings["cpu-cores"])
    usable = _usable(cores)
    if not usable:
        raise InvalidArgumentError(
            f"Unable to set NUMA thread affinity: host policy '{name}' names the cores {_shown(cores)}, of which this "
            f"process may use none; it runs on {_shown(frozenset(os.sched_getaffinity(0)))}"
        )
    if usable != cores:
        logger.warning(
            "host policy '%s' names cores that this process may not use (%s): its instances run on %s",
            name,
            _shown(cores - usable),
            _shown(usable),
        )
    return HostPolicy(name, usable, node)


def _usable(cores: frozenset[int]) -> frozenset[int]:
    """Those of them that the kernel lets this thread run on, which may be more than it runs on now."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
        return frozenset(os.sched_getaffinity(0))
    except OSError:
        return frozenset()
    finally:
        os.sched_setaffinity(0, before)


def _parse(key: str, value: str) -> frozenset[int]:
    """A node's number; or cores: ranges and single ones, with commas between them."""
    if key == "numa-node":
        return frozenset({_number(key, value)})
    cores: set[int] = set()
    for part in value.split(","):
        first, dash, last = part.partition("-")
        lowest = _number(key, first)
        highest = _number(key, last) if dash else lowest
        if highest < lowest or highest >= _MOST_CORES:
            raise InvalidArgumentError(
                "host policy setting 'cpu-cores' format is '<lower_cpu_core_id>-<upper_cpu_core_id>'. "
                f"Got {value}: expected numbers below {_MOST_CORES}, the lower one first"
            )
        cores.update(range(lowest, highest + 1))
    return frozenset(cores)


def _number(key: str, text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        hint = ": cores are ranges or numbers, such as 0-3 or 0-3,8" if key == "cpu-cores" else ""
        raise InvalidArgumentError(f"Parsing '{key}' value: Can't parse '{text}' to integer{hint}")
    return int(text)


def _shown(cores: frozenset[int]) -> str:
    """As ranges."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and runs[-1][1] == core - 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
