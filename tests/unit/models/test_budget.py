"""What a memory budget means, and who makes room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InvalidArgumentError
from atoll.models.budget import Resident, choose_victims, parse_budget


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("4KiB", 4096), ("1.5 GiB", 3 << 29), ("2gb", 2_000_000_000), ("50%", 500), (" 12.5% ", 125)],
)
def test_budgets(text: str, size: int) -> None:
    assert parse_budget(text, 1000) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "0%", "101%", "4 apples", "GiB", "1e9", "nan", "9" * 40, "٣", "1.5.5"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="--model-memory-budget="):
        parse_budget(text, 1000)


def test_a_percentage_of_what_nobody_knows() -> None:
    with pytest.raises(InvalidArgumentError, match="give bytes instead"):
        parse_budget("50%", 0)


residents = st.lists(
    st.builds(
        Resident,
        name=st.text(min_size=1, max_size=4),
        byte_size=st.integers(0, 100),
        last_used_ns=st.integers(0, 50),
        busy=st.booleans(),
    ),
    unique_by=lambda one: one.name,
    max_size=12,
)


@given(residents, st.integers(0, 200), st.integers(1, 400))
def test_room_is_made_with_the_fewest_of_the_least_recently_used(
    loaded: list[Resident], needed: int, budget: int
) -> None:
    victims = choose_victims(loaded, needed, budget)
    by_name = {one.name: one for one in loaded}
    total = sum(one.byte_size for one in loaded) + needed
    idle = sum(one.byte_size for one in loaded if not one.busy)
    if victims is None:
        assert total - idle > budget
        return
    gone = [by_name[name] for name in victims]
    assert not any(one.busy for one in gone)
    assert total - sum(one.byte_size for one in gone) <= budget
    stays = [one for one in loaded if not one.busy and one.byte_size and one.name not in victims]
    assert all(one.last_used_ns <= other.last_used_ns for one in gone for other in stays)
    if gone:
        assert total - sum(one.byte_size for one in gone[:-1]) > budget
