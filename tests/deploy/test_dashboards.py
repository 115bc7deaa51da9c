"""The dashboards hold together: what Grafana needs to import them, by hand and provisioned, and what readers need."""

import itertools
import re
from pathlib import Path

import pytest
import yaml
from tests.deploy.dashboards import FOLDER, PATHS, Json, panels, queries, read, variables

ROOT = Path(__file__).parents[2]
KINDS = {"timeseries", "stat", "table", "heatmap"}  # that Grafana has from 9 on
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
FROM_GRAFANA = {"__rate_interval", "__range", "__interval"}

every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_all_are_there() -> None:
    assert [path.stem for path in PATHS] == ["fleet", "model", "versions"]
    boards = [read(path) for path in PATHS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(PATHS)


@every
def test_a_dashboard_is_imported_without_questions(path: Path) -> None:
    board = read(path)
    assert board["id"] is None
    assert "__inputs" not in board  # provisioning does not fill those in
    assert board["schemaVersion"] == 37  # Grafana 9; later ones migrate it
    assert board["title"]
    assert board["description"]
    assert "atoll" in board["tags"]
    source = variables(board)["datasource"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")


@every
def test_every_source_is_the_variable(path: Path) -> None:
    board = read(path)
    ours = [
        *(one["datasource"] for one in board["templating"]["list"] if one["type"] == "query"),
        *(one["datasource"] for one in board["annotations"]["list"] if "builtIn" not in one),
        *(panel["datasource"] for panel in panels(board)),
        *(target["datasource"] for panel in panels(board) for target in panel["targets"]),
    ]
    assert ours
    assert all(one == SOURCE for one in ours)


@every
def test_every_panel_says_what_it_shows(path: Path) -> None:
    board = read(path)
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert all(rows)
    assert len(set(rows)) == len(rows)
    for panel in panels(board):
        assert panel["type"] in KINDS, panel["title"]
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        for number, target in enumerate(panel["targets"]):
            assert target["refId"] == chr(ord("A") + number), panel["title"]
            assert target["expr"].strip(), panel["title"]
            assert target["legendFormat"], panel["title"]
            assert (target.get("format") == "table") == (panel["type"] == "table"), panel["title"]
            assert (target.get("format") == "heatmap") == (panel["type"] == "heatmap"), panel["title"]


@every
def test_titles_are_unique_within_a_dashboard(path: Path) -> None:
    titles = [panel["title"] for panel in panels(read(path))]
    assert sorted(titles) == sorted(set(titles)), [title for title in titles if titles.count(title) > 1]


@every
def test_panels_fill_the_grid_without_overlaps(path: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in read(path)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        cells = itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
        for cell in cells:
            assert cell not in taken, f"{panel['title']} lies upon {taken[cell]}"
            taken[cell] = panel["title"]
    deep = max(y for _, y in taken) + 1
    empty = [(x, y) for y in range(deep) for x in range(COLUMNS) if (x, y) not in taken]
    assert not empty, f"nothing is at {empty[:3]}"


@every
def test_columns_that_a_table_formats_are_those_of_its_queries(path: Path) -> None:
    for panel in panels(read(path)):
        if panel["type"] == "table":
            values = {f"Value #{target['refId']}" for target in panel["targets"]}
            named = {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}
            hidden = {name for one in panel["transformations"] for name in one["options"].get("excludeByName", {})}
            assert values <= named | hidden, panel["title"]
            assert {name for name in named | hidden if name.startswith("Value #")} <= values, panel["title"]
            shown = {
                prop["value"]
                for one in panel["fieldConfig"]["overrides"]
                for prop in one["properties"]
                if prop["id"] == "displayName"
            }
            assert {one["displayName"] for one in panel["options"].get("sortBy", [])} <= shown, panel["title"]


@every
def test_variables_that_are_used_exist_and_all_are_used(path: Path) -> None:
    board = read(path)
    texts = [query.expression for query in queries(board)]
    used = {name for text in texts for name in re.findall(r"\$(\w+)", text)}
    assert used <= set(variables(board)) | FROM_GRAFANA
    assert used >= set(variables(board)) - {"datasource"}
    for panel in panels(board):
        for target in panel["targets"]:
            assert ("$__range" in target["expr"]) <= target.get("instant", False), panel["title"]


@every
def test_variables_are_defined_before_they_are_used(path: Path) -> None:
    known = set(FROM_GRAFANA)
    for name, variable in variables(read(path)).items():
        text = variable["query"]["query"] if variable["type"] == "query" else ""
        assert set(re.findall(r"\$(\w+)", text)) <= known, name
        known.add(name)


def test_links_between_dashboards_lead_to_one_of_them() -> None:
    known = {read(path)["uid"] for path in PATHS}
    found = {uid for path in PATHS for uid in re.findall(r'"/d/([\w-]+)', path.read_text())}
    assert found
    assert found <= known


def test_provisioning_points_at_the_folder() -> None:
    provisioning = FOLDER.parent / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"].startswith("http")
    assert "uid" not in source  # no dashboard asks for one
    [provider] = yaml.safe_load((provisioning / "dashboards" / "atoll.yml").read_text())["providers"]
    assert provider["type"] == "file"
    mounts = [mount.split(":") for service in containers()["services"].values() for mount in service["volumes"]]
    assert all((ROOT / here).is_dir() for here, _, _ in mounts)
    assert {there: here for here, there, _ in mounts}[provider["options"]["path"]].endswith("dashboards")


def containers() -> Json:
    """What the document shows for those."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    [block] = [one for one in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "services:" in one]
    found: Json = yaml.safe_load(block)
    return found


def test_links_of_the_folders_readme_lead_somewhere() -> None:
    page = ROOT / "deploy" / "README.md"
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
