"""Requests are put together of what a file says, in whatever order it stands there; nothing is lost or shown twice."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies

from atoll.observability.timeline.assembly import MAX_STAMPS, MAX_TENSORS, Skipped, assemble
from atoll.observability.timeline.entries import ARRAY_END, BrokenFileError, read_entries
from atoll.observability.timeline.requests import Mark, Stage, TraceTree, moments_of, stage_totals

RECORDED = Path(__file__).parent / "recorded"  # files that tritonserver 2.51 has written


def trees(entries: Iterable[Any], **rest: Any) -> list[TraceTree]:
    return list(assemble(entries, Skipped(), **rest))


def recorded(name: str) -> TraceTree:
    [tree] = trees(read_entries([(RECORDED / name).read_bytes()]))
    return tree


def stamp(id: int, name: str, ns: int) -> dict[str, Any]:
    return {"id": id, "timestamps": [{"name": name, "ns": ns}]}


def test_an_ensemble_of_the_real_servers_with_a_call_of_one_of_its_models() -> None:
    tree = recorded("ensemble.json")
    found = [(depth, one.id, one.model, one.version, one.request_id) for depth, one in tree.requests]
    assert found == [
        (0, 6, "steps", "1", "whole"),
        (1, 7, "echo", "1", "whole"),
        (1, 8, "calls", "1", "whole"),
        (2, 9, "echo", "1", "inner"),
    ]
    assert tree.root.duration_ns == 58569190790002 - 58569189037374
    assert stage_totals(tree.requests[1][1]) == {
        "queue": 58569189187827 - 58569189157052,
        "compute input": 58569189206024 - 58569189187827,
        "compute infer": 58569189458198 - 58569189206024,
        "compute output": 58569189708559 - 58569189458198,
    }
    assert [one.name for one in tree.requests[2][1].tensors] == ["IN", "OUT", "FACTS"]
    assert tree.problems == ()
    assert all(one.problems == () for _, one in tree.requests)


def test_what_a_stream_of_the_real_servers_waited_for_its_client_is_not_the_requests_time() -> None:
    root = recorded("decoupled.json").root
    stages = {one.name: one.duration_ns for one in root.stages}
    assert stages["wait and read"] == 27_212_469
    assert root.duration_ns == 40_670_008
    assert [one.name for one in root.stages].count("send") == 2
    assert root.marks == (Mark("INFER_RESPONSE_COMPLETE", root.marks[0].ns),)


def test_stamps_of_any_name_are_spans_and_what_has_no_partner_is_a_mark() -> None:
    stamps = [("a_START", 1), ("b_START", 2), ("b_END", 3), ("a_END", 9), ("a_START", 10), ("a_END", 12), ("c_END", 4)]
    moments = moments_of([*stamps, ("d_START", 5), ("odd", 6), ("_START", 7), ("_END", 8)])
    assert moments.spans == (Stage("a", 1, 9), Stage("b", 2, 3), Stage("a", 10, 12))
    assert [one.name for one in moments.marks] == ["c_END", "d_START", "odd", "_START", "_END"]


def test_a_stage_that_ends_before_it_starts_is_said() -> None:
    moments = moments_of([("COMPUTE_START", 9), ("COMPUTE_INPUT_END", 5)])
    assert moments.stages == (Stage("compute input", 9, 5),)
    assert moments.problems == ("compute input ends before it starts",)


requests = strategies.lists(
    strategies.tuples(
        strategies.integers(1, 6), strategies.integers(0, 6), strategies.lists(strategies.integers(1, 99))
    )
)


@settings(max_examples=40)
@given(requests, strategies.randoms())
def test_each_request_and_moment_is_there_once_in_whatever_order_they_stand(made: Any, random: Any) -> None:
    entries = []
    described = set()
    for id_, parent, moments in made:
        if id_ not in described:
            described.add(id_)
            entries.append({"id": id_, "model_name": "m", "model_version": 1, "parent_id": parent})
        entries += [stamp(id_, f"mark {ns}", ns) for ns in moments]
    random.shuffle(entries)
    found = [one for tree in trees(entries) for _, one in tree.requests]
    assert sorted(one.id for one in found) == sorted(described)
    marks = Counter((one.id, mark.name) for one in found for mark in one.marks)
    assert marks == Counter((id_, f"mark {ns}") for id_, _, moments in made for ns in moments)
    for tree in trees(entries):
        depths = [depth for depth, _ in tree.requests]
        assert depths[0] == 0
        assert all(0 < after <= before + 1 for before, after in pairwise(depths))


@settings(max_examples=40)
@given(requests, strategies.integers(1, 8))
def test_no_moment_is_lost_where_little_is_held(made: Any, most: int) -> None:
    entries = [stamp(id_, f"mark {ns}", ns) for id_, _, moments in made for ns in moments]
    found = Counter(
        (one.id, mark.name) for tree in trees(entries, most=most) for _, one in tree.requests for mark in one.marks
    )
    assert found == Counter((id_, f"mark {ns}") for id_, _, moments in made for ns in moments)


def test_little_is_held_of_a_long_file_and_its_traces_stay_whole() -> None:
    taken = 0

    def entries() -> Any:
        nonlocal taken
        for number in range(1, 2001, 2):
            taken += 1
            yield {"id": number + 1, "model_name": "child", "parent_id": number}
            yield stamp(number + 1, "REQUEST_START", 5)
            yield stamp(number, "HTTP_RECV_START", 1)
            yield {"id": number, "model_name": "parent"}

    found = assemble(entries(), Skipped(), most=100)
    assert [one.id for _, one in next(found).requests] == [1, 2]
    assert taken < 60
    assert all(len(tree.requests) == 2 and not tree.problems for tree in found)


def test_parents_that_are_missing_or_go_round_are_said_and_their_children_shown() -> None:
    lost, round_ = trees(
        {"id": id_, "model_name": "m", "parent_id": parent} for id_, parent in ((1, 7), (2, 3), (3, 4), (4, 2))
    )
    assert lost.problems == ("its parent, 7, is not here",)
    assert round_.problems == ("the parents of request 2 go round in a circle",)
    assert [one.id for _, one in round_.requests] == [2, 4, 3]
    [own] = trees([{"id": 1, "model_name": "m", "parent_id": 1}])
    assert own.problems == ("the parents of request 1 go round in a circle",)


def test_a_chain_of_twenty_thousand_parents_is_followed() -> None:
    [tree] = trees({"id": id_, "model_name": "m", "parent_id": id_ - 1} for id_ in range(1, 20_001))
    assert tree.requests[-1][0] == 19_999


def test_the_ids_of_another_array_are_those_of_other_requests() -> None:
    found = trees([stamp(1, "a", 1), ARRAY_END, stamp(1, "b", 1)])
    assert [tree.root.marks[0].name for tree in found] == ["a", "b"]


def test_what_is_too_much_of_one_request_is_left_out_and_said() -> None:
    many = {"id": 1, "timestamps": [{"name": "x", "ns": 1}] * (MAX_STAMPS + 5)}
    tensor = {"id": 1, "activity": "a", "tensor": {"name": "IN", "data": "1," * 1000}}
    [tree] = trees([many, *[tensor] * (MAX_TENSORS + 2), {"id": 1, "model_name": "m" * 100_000}])
    assert tree.root.problems == ("7 of its moments and tensors are left out",)
    assert len(tree.root.marks) == MAX_STAMPS
    assert len(tree.root.model) < 1000
    assert (len(tree.root.tensors[0].data), tree.root.tensors[0].left_out) == (200, 1800)


junk = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=6,
)
hostile = strategies.fixed_dictionaries(
    {},
    optional={
        "id": junk | strategies.integers(1, 3),
        "timestamps": junk | strategies.lists(strategies.fixed_dictionaries({"name": junk, "ns": junk})),
        "model_name": junk,
        "model_version": junk,
        "request_id": junk,
        "parent_id": junk | strategies.integers(1, 3),
        "activity": junk,
        "tensor": junk | strategies.fixed_dictionaries({}, optional={"name": junk, "data": junk, "shape": junk}),
    },
)


@settings(max_examples=30)
@given(strategies.lists(hostile | junk, max_size=8))
def test_whatever_entries_say_is_taken_or_counted_as_left_out(entries: list[Any]) -> None:
    skipped = Skipped()
    found = list(assemble(entries, skipped))
    assert len(found) <= len(entries)
    assert skipped.entries <= len(entries)
    for tree in found:
        for _, one in tree.requests:
            assert 0 <= one.start_ns <= one.end_ns < 1 << 64


def test_absurd_moments_are_left_out() -> None:
    skipped = Skipped()
    absurd: list[Any] = [0, -5, True, 1.5, "7", 1 << 64, None]
    [tree] = assemble([{"id": 1, "timestamps": [{"name": "x", "ns": ns} for ns in absurd]}], skipped)
    assert skipped.stamps == len(absurd)
    assert tree.root.start_ns == 0


def test_what_is_whole_is_given_out_before_it_is_said_that_the_file_is_cut() -> None:
    text = json.dumps([stamp(1, "a", 1), stamp(2, "b", 1)])
    found = assemble(read_entries([text[:-3].encode()]), Skipped())
    assert next(found).root.id == 1
    with pytest.raises(BrokenFileError, match="the file ends here"):
        next(found)
