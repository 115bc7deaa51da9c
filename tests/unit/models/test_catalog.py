"""The models of several repositories together."""

from dataclasses import dataclass, field

import pytest
from tests.unit.models.no_folders import NoFolders

from atoll.errors import ConfigError, NotFoundError, UnavailableError
from atoll.models.catalog import Catalog, ModelKey


@dataclass
class Shelf(NoFolders):
    """A repository of names alone."""

    location: str
    has: list[str] = field(default_factory=list)
    down: bool = False

    def names(self) -> list[str]:
        if self.down:
            raise UnavailableError(f"list {self.location}: timed out")
        return sorted(self.has)

    def files(self, name: str) -> dict[str, str]:
        return {}


def test_names_are_found_where_they_are() -> None:
    one, other = Shelf("one", ["a"]), Shelf("other", ["b"])
    catalog = Catalog([one, other], namespacing=False)
    assert catalog.list().models == {ModelKey("a"): one, ModelKey("b"): other}
    assert catalog.find("b") == {ModelKey("b"): other}
    with pytest.raises(NotFoundError, match="failed to load 'c', failed to poll from model repository"):
        catalog.find("c")


def test_a_name_that_two_have_is_nobodys() -> None:
    catalog = Catalog([Shelf("one", ["a", "b"]), Shelf("other", ["b", "c"])], namespacing=False)
    listing = catalog.list()
    assert [key.name for key in listing.models] == ["a", "c"]
    assert "one, other" in str(listing.clashes[ModelKey("b")])
    with pytest.raises(ConfigError, match="two or more repositories"):
        catalog.find("b")


def test_in_namespaces_each_has_its_own() -> None:
    catalog = Catalog([Shelf("one", ["a", "b"]), Shelf("other", ["b"])], namespacing=True)
    assert sorted(map(str, catalog.list().models)) == ["one::a", "one::b", "other::b"]
    assert list(catalog.find("a")) == [ModelKey("a", "one")]
    assert list(catalog.find("b")) == [ModelKey("b", "one"), ModelKey("b", "other")]


def test_what_cannot_be_asked_hides_nothing_else() -> None:
    catalog = Catalog([Shelf("one", ["a"]), Shelf("other", ["b"], down=True)], namespacing=False)
    assert list(catalog.list().models) == [ModelKey("a")]
    assert list(catalog.find("a")) == [ModelKey("a")]
    with pytest.raises(UnavailableError, match="no reachable repository has it: list other: timed out"):
        catalog.find("b")
