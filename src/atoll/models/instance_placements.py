"""From a model's instance groups to its instances: one placement each. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from atoll.backends.api import Placement
from atoll.config.model_config import ModelConfig, ModelInstanceGroup

Groups = Sequence[ModelInstanceGroup]


def placements(groups: Groups) -> list[Placement]:
    """One placement for each instance, named as Triton names them; no two have the same name."""
    return [placement for placement, _ in _placed(groups)]


def group_numbers(groups: Groups) -> dict[str, int]:
    """By the names of the instances, the place of their group among the groups."""
    return {placement.name: number for placement, number in _placed(groups)}


def groups_of_instances(groups: Groups) -> Mapping[str, ModelInstanceGroup]:
    """The group of each instance, without what does not concern a single one."""
    return {placement.name: replace(groups[number], count=0, gpus=()) for placement, number in _placed(groups)}


def same_but_instances(one: ModelConfig, other: ModelConfig) -> bool:
    """Whether two configurations ask for the same model, versions and instances aside. Never where there are sequences,
    unless they are equal: those that an instance has would be lost with it. Nor where groups choose other profiles or
    secondary devices, which a model reads when it is loaded.
    """
    if one.sequence_batching is not None and one.instance_group != other.instance_group:
        return False
    if _read_at_load(one) != _read_at_load(other):
        return False
    return _without_instances(one) == _without_instances(other)


def _without_instances(config: ModelConfig) -> ModelConfig:
    return replace(config, instance_group=(), version_policy=None)


def _read_at_load(config: ModelConfig) -> list[object]:
    return [
        (group.name, group.profile, group.secondary_devices)
        for group in config.instance_group
        if group.profile or group.secondary_devices
    ]


def _placed(groups: Groups) -> list[tuple[Placement, int]]:
    """Each placement with the place of its group. Groups of one name, which the real server allows, count on."""
    placed = []
    counted: dict[str, int] = {}
    for number, group in enumerate(groups):
        on_gpu = group.kind is ModelInstanceGroup.Kind.KIND_GPU
        for device in (group.gpus or (0,)) if on_gpu else (0,):
            for _ in range(group.count):
                index = counted.get(group.name, 0)
                counted[group.name] = index + 1
                name = f"{group.name}_{index}_gpu{device}" if on_gpu else f"{group.name}_{index}"
                placed.append((Placement(name, group.kind.name, device), number))
    return placed
