"""Who gets resources next: never more than there is, never nobody, never always the same."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.scheduling.rate_limiting import GLOBAL, Claim, Key, Resources, Stand, Supply, UnmetNeedError

R: Key = ("R", 0)


def claim(count: int = 1, priority: int = 1, key: Key = R) -> Claim:
    return Claim({key: count}, priority)


def added(resources: Resources, *claims: Claim) -> None:
    for one in claims:
        resources.add(one)


def test_without_supplies_there_is_as_much_as_the_largest_need() -> None:
    resources = Resources()
    large, small, other = claim(4), claim(2), claim(2)
    added(resources, small, other)
    assert resources.limit(R) == 2
    resources.add(large)
    assert resources.limit(R) == 4
    assert resources.ask(small) == [small]
    assert resources.ask(other) == [other]
    assert resources.ask(large) == []
    assert resources.give_back(small) == []
    assert resources.give_back(other) == [large]
    resources.remove(large)
    assert resources.limit(R) == 2
    assert resources.held(R) == 0


@pytest.mark.parametrize(
    ("supplies", "key", "limit"),
    [
        ([Supply("R", 2)], R, 2),
        ([Supply("R", 2, 0)], R, 2),
        ([Supply("R", 2, 1)], R, 0),
        ([Supply("r", 2)], R, 0),
        ([Supply("S", 8)], R, 0),
        ([Supply("R", 2, 0)], ("R", GLOBAL), 2),
        ([Supply("R", 2, 1), Supply("R", 3, 0)], ("R", GLOBAL), 3),
    ],
)
def test_what_is_needed_beyond_the_supplies_is_refused_in_the_real_servers_words(
    supplies: list[Supply], key: Key, limit: int
) -> None:
    resources = Resources(supplies)
    with pytest.raises(UnmetNeedError) as caught:
        resources.add(claim(4, key=key))
    assert str(caught.value) == (
        f'Resource count for "R" is limited to {limit} which will prevent scheduling of one or more model instances, '
        "the minimum required count is 4"
    )
    assert resources.limit(key) == 0


@pytest.mark.parametrize(
    ("supplies", "key"),
    [
        ([Supply("R", 2, 0), Supply("R", 8)], R),
        ([Supply("R", 8, 0), Supply("R", 2)], R),
        ([Supply("R", 2, 1), Supply("R", 8, 0)], ("R", GLOBAL)),
        ([Supply("R", 8, 1), Supply("R", 2, 0)], ("R", GLOBAL)),
        ([Supply("R", 2, 1), Supply("R", 8)], ("R", GLOBAL)),
    ],
)
def test_of_several_supplies_the_largest_counts_as_in_the_real_server(supplies: list[Supply], key: Key) -> None:
    resources = Resources(supplies)
    resources.add(claim(4, key=key))
    assert resources.limit(key) == 8


def test_a_need_of_nothing_is_always_met() -> None:
    resources = Resources([Supply("R", 0)])
    one = claim(0)
    resources.add(one)
    assert resources.ask(one) == [one]


@pytest.mark.parametrize("first", [0, GLOBAL])
def test_a_resource_is_either_global_or_of_each_device(first: int) -> None:
    text = 'Resource "R" is present as both global and device-specific resource in the model configuration.'
    resources = Resources()
    resources.add(claim(key=("R", first)))
    with pytest.raises(UnmetNeedError, match=text):
        resources.add(claim(key=("R", -1 - first)))
    with pytest.raises(UnmetNeedError, match=text):
        Resources().add(Claim({("R", 0): 1, ("R", GLOBAL): 1}, 1))


def test_devices_have_resources_of_their_own() -> None:
    resources = Resources([Supply("R", 1)])
    here, there = claim(key=("R", 0)), claim(key=("R", 1))
    added(resources, here, there)
    assert resources.ask(here) == [here]
    assert resources.ask(there) == [there]


def test_turns_are_in_the_ratio_of_the_priorities() -> None:
    """The real server has run three models of the priorities 1, 2 and 4 81, 42 and 21 times."""
    resources = Resources()
    claims = [claim(priority=1), claim(priority=2), claim(priority=4)]
    added(resources, *claims)
    runs: Counter[int] = Counter()
    granted = [one for asker in claims for one in resources.ask(asker)]
    for _ in range(700):
        [running] = granted
        runs[claims.index(running)] += 1
        granted = resources.executed(running, again=True)
    assert [runs[one] for one in range(3)] == pytest.approx([400, 200, 100], abs=2)


def test_priority_0_is_1() -> None:
    resources = Resources()
    zero, one = claim(priority=0), claim(priority=1)
    added(resources, zero, one)
    [running] = [*resources.ask(zero), *resources.ask(one)]
    order = []
    for _ in range(6):
        order.append(running)
        [running] = resources.executed(running, again=True)
    assert order == [zero, one] * 3


def test_who_comes_later_does_not_make_up_for_the_time_before() -> None:
    resources = Resources()
    old, new = claim(), claim()
    resources.add(old)
    resources.ask(old)
    for _ in range(1000):
        assert resources.executed(old, again=True) == [old]
    resources.add(new)
    resources.ask(new)
    order = []
    running = old
    for _ in range(6):
        [running] = resources.executed(running, again=True)
        order.append(running)
    assert order in ([new, old] * 3, [old, new] * 3)


def test_a_turn_that_was_not_used_is_not_counted() -> None:
    resources = Resources()
    one = claim(priority=5)
    resources.add(one)
    resources.ask(one)
    resources.give_back(one)
    assert one.turn == 0
    resources.ask(one)
    resources.executed(one, again=False)
    assert one.turn == 5
    assert one.stand is Stand.AWAY


def test_who_needs_much_is_not_starved_and_others_go_on_meanwhile() -> None:
    resources = Resources([Supply("R", 3), Supply("S", 1)])
    small = [claim(1) for _ in range(3)]
    large, elsewhere, both = claim(3), claim(1, key=("S", 0)), Claim({R: 1, ("S", 0): 1}, 1)
    added(resources, *small, large, elsewhere, both)
    for one in small:
        assert resources.ask(one) == [one]
    assert resources.ask(large) == []
    assert resources.ask(elsewhere) == [elsewhere]
    assert resources.ask(both) == []
    assert resources.executed(small[0], again=True) == []
    assert resources.executed(small[1], again=True) == []
    assert resources.executed(elsewhere, again=True) == []  # `both` is before it, and keeps S for itself
    assert resources.executed(small[2], again=True) == [large]
    assert set(resources.executed(large, again=False)) == {both, *small[:2]}


class Crowd:
    """Many claims that do what they may, in any order."""

    def __init__(self, needs: list[dict[Key, int]], supplies: list[Supply] | None):
        self.resources = Resources(supplies)
        self.claims = [Claim(one, 1 + number % 3) for number, one in enumerate(needs)]
        self.member: set[int] = set()
        self.waited: Counter[int] = Counter()  # executions of others since it began to wait

    def step(self, number: int, again: bool, leaves: bool) -> None:
        one = self.claims[number]
        before = {each for each in self.claims if each.stand is Stand.HOLDS}
        held = Counter({key: self.resources.held(key) for each in self.claims for key in each.needs})
        if number not in self.member:
            try:
                self.resources.add(one)
            except UnmetNeedError:
                return
            self.member.add(number)
            granted: list[Claim] = []
        elif leaves:
            self.member.discard(number)
            granted = self.resources.remove(one)
        elif one.stand is Stand.AWAY:
            granted = self.resources.ask(one)
        elif one.stand is Stand.WAITS:
            granted = self.resources.give_back(one) if again else self.resources.ask(one)
        else:
            for other in self.claims:
                if other is not one and other.stand is Stand.WAITS:
                    self.waited[self.claims.index(other)] += 1
            granted = self.resources.executed(one, again)
        assert all(each.stand is Stand.HOLDS for each in granted)
        for each in self.claims:
            if each.stand is not Stand.WAITS:
                self.waited[self.claims.index(each)] = 0
        self.check(before, held)

    def check(self, before: set[Claim], held: Counter[Key]) -> None:
        now = Counter[Key]()
        for each in self.claims:
            if each.stand is Stand.HOLDS:
                now.update(each.needs)
        for key in held:
            assert self.resources.held(key) == now[key]
            assert now[key] <= max(self.resources.limit(key), held[key])  # it may have been more that could be had
            if any(each.needs.get(key) for each in self.claims if each.stand is Stand.HOLDS and each not in before):
                assert now[key] <= self.resources.limit(key)
        if any(each.stand is Stand.WAITS for each in self.claims):
            assert any(each.stand is Stand.HOLDS for each in self.claims), "all wait, and nobody goes on"


KEYS: list[Key] = [("A", GLOBAL), ("B", 0), ("B", 1), ("C", 0)]
NEEDS = st.lists(st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3)), min_size=1, max_size=6)
SUPPLIES = st.none() | st.lists(
    st.builds(Supply, st.sampled_from("ABC"), st.integers(0, 4), st.none() | st.integers(0, 1)), max_size=4
)
STEPS = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 9)), max_size=120)


@given(NEEDS, SUPPLIES, STEPS)
def test_never_more_than_there_is_and_never_nobody(
    needs: list[dict[Key, int]], supplies: list[Supply] | None, steps: list[tuple[int, bool, int]]
) -> None:
    crowd = Crowd(needs, supplies)
    for number, again, chance in steps:
        crowd.step(number % len(crowd.claims), again, leaves=chance == 0)
    for number in list(crowd.member):
        crowd.resources.remove(crowd.claims[number])
    assert all(one.stand is Stand.AWAY for one in crowd.claims)
    assert all(crowd.resources.held(key) == 0 for key in KEYS)


@settings(max_examples=40)
@given(NEEDS, st.integers())
def test_nobody_waits_for_ever(needs: list[dict[Key, int]], seed: int) -> None:
    chance = Random(seed)
    crowd = Crowd(needs, None)
    for number in range(len(needs)):
        crowd.step(number, again=True, leaves=False)
    for number in range(len(needs)):
        crowd.step(number, again=True, leaves=False)
    began: dict[int, int] = {}
    for turn in range(300):
        running = [number for number, one in enumerate(crowd.claims) if one.stand is Stand.HOLDS]
        began = {number: began.get(number, turn) for number in running}
        oldest = min(running, key=began.__getitem__)  # every second time, so that each execution ends
        done = oldest if turn % 2 else chance.choice(running)
        del began[done]
        crowd.step(done, again=True, leaves=False)
        # A turn moves by 1 to 3: three of each of the others come between two of its own, and it waits for the end of
        # what executes then.
        assert max(crowd.waited.values(), default=0) <= 2 * 4 * len(needs) ** 2
