"""Which versions of a model are served."""

from collections.abc import Iterable

from atoll.config.model_config import ModelVersionPolicy


def choose_versions(policy: ModelVersionPolicy | None, available: Iterable[int]) -> list[int]:
    """The versions to serve among those in the repository, ascending.

    No policy at all means the latest one; a policy that says nothing means all (as the real server has it). Versions
    that are asked for but not there are left out, and so the answer may be empty.
    """
    versions = sorted(set(available))
    if policy is None:
        return versions[-1:]
    if policy.latest is not None:
        return versions[-policy.latest.num_versions :] if policy.latest.num_versions > 0 else []
    if policy.specific is not None:
        wanted = set(policy.specific.versions)
        return [one for one in versions if one in wanted]
    return versions
