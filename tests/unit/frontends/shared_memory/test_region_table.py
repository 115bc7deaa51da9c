"""The table of regions: names, limits, both kinds in one namespace, and life beyond their registration."""

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from tests.unit.frontends.shared_memory.objects import SharedObject, shared_object

from atoll.devices.cuda_driver import CudaError
from atoll.errors import (
    AlreadyExistsError,
    AtollError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from atoll.frontends.shared_memory.regions import LONGEST_NAME, RegionTable
from atoll.protocol.region_requests import CudaRegion, SystemRegion

NAMES = ("a", "b", "c", "", "..", "x/y", "\0")


class FakeMemory:
    byte_size = 100


class FakeDriver:
    def open_memory(self, handle: bytes, device: int) -> FakeMemory:
        if device:
            raise CudaError(f"there is no device {device}")
        return FakeMemory()


def cuda(name: str, device: int = 0, byte_size: int = 100, handle: bytes = bytes(64)) -> CudaRegion:
    return CudaRegion(name, handle, device, byte_size)


class TableMachine(RuleBasedStateMachine):
    """Any order of calls, against two dictionaries."""

    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.object = SharedObject(256)
        self.table = RegionTable(most=4, driver=FakeDriver)  # type: ignore[arg-type]
        self.system: dict[str, SystemRegion] = {}
        self.cuda: dict[str, CudaRegion] = {}

    def teardown(self) -> None:
        self.object.path.unlink()

    def expected_refusal(self, name: str) -> type[AtollError] | None:
        if name in self.system or name in self.cuda:
            return AlreadyExistsError
        return UnavailableError if len(self.system) + len(self.cuda) >= 4 else None

    @rule(name=st.sampled_from(NAMES), offset=st.integers(0, 300), byte_size=st.integers(0, 300))
    def register_system(self, name, offset, byte_size):
        wanted = self.object.region(name, offset, byte_size)
        refusal = self.expected_refusal(name)
        if refusal is None and (byte_size == 0 or offset + byte_size > 256):
            refusal = InvalidArgumentError
        self.try_it(refusal, self.table.register_system, wanted, self.system)

    @rule(name=st.sampled_from(NAMES), device=st.integers(0, 1), byte_size=st.integers(0, 101))
    def register_cuda(self, name, device, byte_size):
        refusal = self.expected_refusal(name)
        if refusal is None and (device or not 0 < byte_size <= 100):
            refusal = InvalidArgumentError
        self.try_it(refusal, self.table.register_cuda, cuda(name, device, byte_size), self.cuda)

    def try_it(self, refusal, register, wanted, kind):
        if refusal is None:
            register(wanted)
            kind[wanted.name] = wanted
        else:
            with pytest.raises(refusal):
                register(wanted)

    @rule(name=st.sampled_from(NAMES), which=st.booleans())
    def unregister(self, name, which):
        kind = self.system if which else self.cuda
        (self.table.unregister_system if which else self.table.unregister_cuda)(name)
        if name:
            kind.pop(name, None)
        else:
            kind.clear()

    @invariant()
    def both_say_the_same(self):
        assert self.table.system_regions() == sorted(self.system.values(), key=lambda one: one.name)
        assert self.table.cuda_regions() == sorted(self.cuda.values(), key=lambda one: one.name)
        for name in filter(None, NAMES):
            for kind, ask in ((self.system, self.table.system_regions), (self.cuda, self.table.cuda_regions)):
                if name in kind:
                    assert ask(name) == [kind[name]]
                else:
                    with pytest.raises(NotFoundError):
                        ask(name)
            if name in self.system or name in self.cuda:
                known = self.system.get(name) or self.cuda[name]
                assert self.table.region(name).byte_size == known.byte_size
            else:
                with pytest.raises(NotFoundError, match="Unable to find shared memory region"):
                    self.table.region(name)


TableMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTable = TableMachine.TestCase


def test_a_region_lives_on_while_somebody_uses_it():
    table = RegionTable()
    with shared_object() as one:
        table.register_system(one.region())
        region = table.region("r")
        table.unregister_system("r")
        one.fill(b"still here")
        assert bytes(region.read(0, 10)) == b"still here"
        table.register_system(one.region(offset=6))
        assert bytes(table.region("r").read(0, 4)) == b"here"
        assert bytes(region.read(0, 10)) == b"still here"


def test_long_names_are_refused():
    with shared_object() as one, pytest.raises(InvalidArgumentError, match="has 1000000 characters: expected at most"):
        RegionTable().register_system(one.region("n" * 1_000_000))
    assert LONGEST_NAME >= 255


def test_a_register_that_fails_leaves_nothing():
    table = RegionTable()
    with pytest.raises(InternalError):
        table.register_system(SystemRegion("r", "/no_such_object_of_atoll", 0, 8))
    with pytest.raises(InvalidArgumentError, match="expected 64"):
        table.register_cuda(cuda("c", handle=b"short"))
    assert table.system_regions() == table.cuda_regions() == []


def test_the_table_is_full_at_its_limit_and_no_sooner():
    table = RegionTable(most=100)
    with shared_object() as one:
        for number in range(100):
            table.register_system(one.region(str(number)))
        with pytest.raises(UnavailableError, match="100 shared memory regions are registered, and that is the limit"):
            table.register_system(one.region("more"))
        table.unregister_system("7")
        table.register_system(one.region("more"))
        table.close()
    assert table.system_regions() == []


def test_of_many_that_register_one_name_one_does():
    table = RegionTable(driver=FakeDriver)  # type: ignore[arg-type]
    outcomes: list[str] = []
    barrier = threading.Barrier(8)
    with shared_object() as one:

        def register(number: int) -> None:
            barrier.wait()
            try:
                table.register_cuda(cuda("r")) if number % 2 else table.register_system(one.region())
                outcomes.append("done")
            except AlreadyExistsError:
                outcomes.append("there")

        threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(outcomes) == ["done"] + ["there"] * 7
    assert len(table.system_regions()) + len(table.cuda_regions()) == 1
