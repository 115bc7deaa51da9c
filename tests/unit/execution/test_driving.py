"""The rule of who drives an instance."""

import itertools

from atoll.execution.driving import PROOF, SHORT_NS, Pace, may_submitter_drive


def test_every_condition_is_needed() -> None:
    names = ("enabled", "bounded", "waits", "short", "can_defer")
    allowed = [
        dict(zip(names, values, strict=True))
        for values in itertools.product([False, True], repeat=5)
        if may_submitter_drive(**dict(zip(names, values, strict=True)))
    ]
    assert allowed == [{"enabled": True, "bounded": True, "waits": False, "short": True, "can_defer": True}]


def test_an_instance_proves_itself_and_loses_it_with_the_first_long_execution() -> None:
    pace = Pace()
    for _ in range(PROOF):
        assert not pace.is_short
        pace.observe(SHORT_NS)
    assert pace.is_short
    pace.observe(SHORT_NS + 1)
    assert not pace.is_short
    pace.observe(1)
    assert not pace.is_short
