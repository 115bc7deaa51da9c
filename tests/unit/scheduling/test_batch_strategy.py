"""Batch strategies: the one that docs/batching.md shows, installed; and those that are missing, wrong, or raise."""

import logging
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scheduling.queued import MS, Turned, configuration, queued

from atoll.config.model_config import ModelConfig, ModelDynamicBatching, ModelInput, ModelParameter
from atoll.config.problems import errors_of
from atoll.errors import ConfigError
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.queueing.batch_strategy import GROUP, GuardedStrategy, strategy_names, strategy_problems
from atoll.scheduling.scheduler import WaitUntil
from atoll.tensor import DataType, Tensor

PAGE = Path(__file__).parents[3] / "docs" / "batching.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
Install = Callable[..., None]


def block(language: str, part: str) -> str:
    (found,) = [text for tag, text in BLOCKS if tag == language and part in text]
    return found


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Packages as pip leaves them: a module, and what it offers."""
    monkeypatch.syspath_prepend(str(tmp_path))
    installed: list[str] = []

    def one(module: str, code: str, offers: dict[str, str]) -> None:
        installed.append(module)
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in offers.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))

    yield one
    for module in installed:
        sys.modules.pop(module, None)


def texts(name: str, length: int, rows: int = 1) -> Any:
    request = queued(name, size=rows)
    request.inputs["TEXT"] = Tensor.from_numpy("TEXT", np.zeros((rows, length), np.int32))
    return request


def asks_for(strategy: str, **parameters: str) -> ModelConfig:
    return ModelConfig(
        name="m",
        max_batch_size=8,
        input=(ModelInput(name="TEXT", data_type=DataType.INT32, dims=(-1,)),),
        dynamic_batching=ModelDynamicBatching(max_queue_delay_microseconds=1000),
        parameters={
            key: ModelParameter(string_value=text) for key, text in {"batch_strategy": strategy, **parameters}.items()
        },
    )


def test_the_one_of_the_page(install: Install) -> None:
    offers = tomllib.loads(block("toml", "token-budget"))["project"]["entry-points"][GROUP]
    install("token_budget", block("python", "class TokenBudget"), offers)
    assert "token_budget" in strategy_names()
    config = asks_for("token_budget", token_budget="512")
    assert strategy_problems(config) == []
    one = Turned(config)
    one.enqueue(texts("a", 100), texts("b", 120), texts("c", 100), texts("d", 200), texts("e", 600))
    one.enqueue(texts("f", 10, rows=4))
    # 3 * 120 fits and 4 * 200 does not; what is too long for any batch runs alone
    assert one.names() == ["a", "b", "c"]
    assert one.names() == ["d"]
    assert one.names() == ["e"]
    assert one.batch() == WaitUntil(1001 * MS)  # others may still join
    one.enqueue(texts("g", 10, rows=4))
    assert one.names() == ["f", "g"]  # max_batch_size holds


class TestWhatCannotBeHad:
    def found(self, strategy: str) -> str:
        """What `atoll validate` says, and what loading the model says."""
        config = asks_for(strategy)
        with pytest.raises(ConfigError) as raised:
            choose_scheduler(config)
        for problem in errors_of(strategy_problems(config)):
            assert problem.path == "parameters.batch_strategy"
            assert problem.message in str(raised.value)
        return str(raised.value)

    def test_none_of_that_name(self, install: Install) -> None:
        install("by_volume", "Volume = dict", {"volume": "by_volume:Volume"})
        said = self.found("volumes")
        assert "parameters.batch_strategy: unable to find batch strategy 'volumes'" in said
        assert "Installed strategies: volume" in said
        assert "Did you mean 'volume'?" in said
        assert errors_of(strategy_problems(asks_for("volumes")))

    def test_one_that_cannot_be_imported(self, install: Install) -> None:
        install("absent", "import a_library_that_is_not_there", {"absent": "absent:Strategy"})
        said = self.found("absent")
        assert "batch strategy 'absent' (absent:Strategy) cannot be imported: ModuleNotFoundError" in said
        assert errors_of(strategy_problems(asks_for("absent")))

    def test_one_that_is_no_class(self, install: Install) -> None:
        install("number", "Strategy = 3", {"number": "number:Strategy"})
        assert "(number:Strategy) is not a class or function to be given the configuration" in self.found("number")

    def test_one_that_raises_when_it_is_made(self, install: Install) -> None:
        install("picky", "def make(config):\n    raise ValueError('no budget')", {"picky": "picky:make"})
        assert "batch strategy 'picky' cannot be made for model 'm': ValueError: no budget" in self.found("picky")

    def test_one_that_makes_something_else(self, install: Install) -> None:
        install("other", "def make(config):\n    return 'a rule'", {"other": "other:make"})
        assert "batch strategy 'other' made 'a rule', which has no method 'start'" in self.found("other")


class TestWarnings:
    def test_a_library_for_triton(self) -> None:
        parameters = {"TRITON_BATCH_STRATEGY_PATH": ModelParameter(string_value="/opt/batchstrategy.so")}
        [problem] = strategy_problems(ModelConfig(name="m", parameters=parameters))
        assert problem.warning
        assert str(problem).startswith("parameters.TRITON_BATCH_STRATEGY_PATH: batching libraries in C are not used")

    @pytest.mark.parametrize("batching", [None, ModelDynamicBatching()])
    def test_no_batches(self, batching: ModelDynamicBatching | None) -> None:
        parameters = {"batch_strategy": ModelParameter(string_value="token_budget")}
        config = ModelConfig(name="m", dynamic_batching=batching, parameters=parameters)
        [problem] = strategy_problems(config)
        assert problem.warning
        assert "has no effect" in problem.message
        choose_scheduler(config)


class Says:
    """A strategy that answers as it was told, by the name of the request; an exception is raised."""

    def __init__(self, **answers: Any):
        self.answers = answers
        self.asked: list[str] = []

    def start(self) -> "Says":
        if "start" in self.answers:
            raise self.answers["start"]
        self.asked = []
        return self

    def include(self, request: Any) -> bool:
        self.asked.append(request.id)
        answer = self.answers.get(request.id, True)
        if isinstance(answer, BaseException):
            raise answer
        return bool(answer)


def together(strategy: Says, *requests: Any) -> int:
    return GuardedStrategy("says", "m", strategy).together(requests, 4)


def test_it_is_asked_in_order_and_not_about_what_does_not_fit() -> None:
    says = Says()
    assert together(says, queued("a"), queued("b", size=2), queued("c", size=2), queued("d")) == 4
    assert says.asked == ["a", "b"]


def test_its_no_ends_the_batch_but_no_batch_is_empty() -> None:
    assert together(Says(b=False), queued("a"), queued("b"), queued("c")) == 1
    assert together(Says(a=False, c=False), queued("a"), queued("b"), queued("c")) == 2


def test_where_it_raises_the_batch_ends_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    guarded = GuardedStrategy("says", "m", Says(b=KeyError("size")))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert guarded.together([queued("a"), queued("b"), queued("c")], 8) == 1
            assert guarded.together([queued("b"), queued("c")], 8) == 1
    [record] = caplog.records
    assert "batch strategy 'says' failed for model 'm'" in record.getMessage()
    assert record.exc_info is not None
    assert together(Says(start=RuntimeError("no")), queued("a"), queued("b")) == 1


@given(st.data())
def test_no_strategy_loses_a_request_or_makes_a_batch_too_large(data: st.DataObject) -> None:
    config = configuration(max_batch_size=4, preserve_ordering=True, delay_ms=data.draw(st.sampled_from([0, 5])))
    one = Turned(config)
    scheduler: Any = one.scheduler
    answers = st.sampled_from([True, False, ValueError("?")])
    count = data.draw(st.integers(1, 12))
    scheduler._strategy = GuardedStrategy("says", "m", Says(**{str(n): data.draw(answers) for n in range(count)}))
    sizes = {str(n): data.draw(st.integers(1, 4)) for n in range(count)}
    one.enqueue(*(queued(name, size=size) for name, size in sizes.items()))
    one.ms += 5
    batches = one.all_names()
    assert [name for batch in batches for name in batch] == list(sizes)
    assert all(sum(sizes[name] for name in batch) <= 4 for batch in batches)
