"""Which instances the groups of a configuration mean, and when a changed configuration only changes these."""

from dataclasses import replace

import pytest

from atoll.backends.api import Placement
from atoll.config.model_config import ModelConfig, ModelInstanceGroup, ModelSequenceBatching
from atoll.models.instance_placements import group_numbers, groups_of_instances, placements, same_but_instances

Kind = ModelInstanceGroup.Kind


def group(name: str = "g", count: int = 1, kind: Kind = Kind.KIND_CPU, **more: object) -> ModelInstanceGroup:
    return ModelInstanceGroup(name=name, count=count, kind=kind, **more)


def test_one_for_each_instance() -> None:
    assert placements([group(count=2), group("h", kind=Kind.KIND_MODEL)]) == [
        Placement("g_0"),
        Placement("g_1"),
        Placement("h_0", "KIND_MODEL"),
    ]


def test_on_each_gpu_as_many() -> None:
    found = placements([group(count=2, kind=Kind.KIND_GPU, gpus=(1, 3))])
    assert [(one.name, one.device_id) for one in found] == [
        ("g_0_gpu1", 1),
        ("g_1_gpu1", 1),
        ("g_2_gpu3", 3),
        ("g_3_gpu3", 3),
    ]


def test_on_the_first_gpu_where_none_is_named() -> None:
    assert placements([group(kind=Kind.KIND_GPU)]) == [Placement("g_0_gpu0", "KIND_GPU", 0)]


def test_groups_of_one_name_have_instances_of_their_own() -> None:
    groups = [group(), group("h"), group(count=2, profile=("1",))]
    assert [one.name for one in placements(groups)] == ["g_0", "h_0", "g_1", "g_2"]
    assert group_numbers(groups) == {"g_0": 0, "h_0": 1, "g_1": 2, "g_2": 2}
    assert [one.profile for one in groups_of_instances(groups).values()] == [(), (), ("1",), ("1",)]


@pytest.mark.parametrize(
    ("after", "same"),
    [
        ((group(count=5),), True),
        ((group(), group("h")), True),
        ((group(profile=("1",)),), False),
        ((group(secondary_devices=(ModelInstanceGroup.SecondaryDevice(device_id=1),)),), False),
    ],
)
def test_which_changes_are_of_instances_alone(after: tuple[ModelInstanceGroup, ...], same: bool) -> None:
    before = ModelConfig(name="m", instance_group=(group(),))
    assert same_but_instances(before, replace(before, instance_group=after)) is same


def test_sequences_stay_where_they_are() -> None:
    before = ModelConfig(name="m", instance_group=(group(),), sequence_batching=ModelSequenceBatching())
    assert same_but_instances(before, before)
    assert not same_but_instances(before, replace(before, instance_group=(group(count=2),)))
