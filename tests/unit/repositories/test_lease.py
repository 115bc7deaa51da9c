"""A folder goes back to its repository once, when nobody needs it any more."""

from pathlib import Path

import pytest

from atoll.repositories.lease import Lease, leased
from atoll.repositories.repository import ModelFolder

FOLDER = ModelFolder("m", Path("/nowhere/m"), {1: Path("/nowhere/m/1")})


class Lender:
    location = "lender"

    def __init__(self) -> None:
        self.returned: list[ModelFolder] = []

    def names(self) -> list[str]:
        return ["m"]

    def files(self, name: str) -> dict[str, str]:
        return {}

    def folder(self, name: str) -> ModelFolder:
        return FOLDER

    def release(self, folder: ModelFolder) -> None:
        self.returned.append(folder)

    def close(self) -> None:
        pass

    def server_config(self) -> Path | None:
        return None


def test_the_last_one_gives_it_back() -> None:
    lender = Lender()
    lease = Lease(lender, FOLDER)
    assert lease.hold() is lease
    lease.drop()
    assert not lender.returned
    lease.drop()
    assert lender.returned == [FOLDER]
    with pytest.raises(AssertionError, match="given back already"):
        lease.hold()


def test_a_block_gives_it_back_whatever_happens() -> None:
    lender = Lender()
    with pytest.raises(ZeroDivisionError), leased(lender, "m") as folder:
        assert folder is FOLDER
        raise ZeroDivisionError
    assert lender.returned == [FOLDER]
