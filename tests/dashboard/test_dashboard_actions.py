"""Loading and unloading from the page, and the keys that it asks for."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.conformance.model_folders import write_identity
from tests.dashboard.conftest import SPOILT, kept, opened, row
from tests.unit.frontends.access.key_files import key_text, put

import atoll

pytestmark = pytest.mark.slow  # it starts a browser

ADMIN, VIEWER, LIMITED, CLIENT = (f"{name}-".ljust(40, "x") for name in ("admin", "viewer", "limited", "client"))
KEYS = (
    {"name": "ops", "key": ADMIN, "scopes": ["dashboard", "model-repository"]},
    {"name": "screen", "key": VIEWER, "scopes": ["dashboard"]},
    {"name": "team", "key": LIMITED, "scopes": ["dashboard"], "models": ["dou*"]},
    {"name": "client", "key": CLIENT},
)


@pytest.fixture
def locked(server: atoll.Server, tmp_path: Path) -> Iterator[Any]:
    put(tmp_path / "keys.json", key_text(*KEYS))
    options: dict[str, Any] = {"api_key_file": str(tmp_path / "keys.json")}
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0, **options) as listener:
        yield listener


def give(page: Page, key: str) -> None:
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill(key)
    dialog.get_by_role("button", name="Use it").click()


def unloaded(page: Page, model: str) -> None:
    page.get_by_role("button", name=f"Unload {model}", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Unload").click()


def test_loading_and_unloading(page: Page, server: atoll.Server) -> None:
    field = page.get_by_label("Model", exact=True)
    with page.expect_response("**/v2/repository/index"):
        field.focus()
    expect(page.locator("#known option[value=echo]")).to_have_count(1)
    field.fill("echo")
    field.press("Enter")
    expect(page.locator("#done")).to_contain_text("echo is loaded")
    expect(row(page, "echo").locator(".state")).to_have_text("idle")
    assert server.model_ready("echo")
    unloaded(page, "echo")
    expect(page.locator("#done")).to_contain_text("echo is unloaded")
    expect(row(page, "echo").locator(".state")).to_have_text("not loaded")
    assert [one.state for one in server.model_states() if one.name == "echo"] == ["UNAVAILABLE"]
    page.get_by_role("button", name="Load echo", exact=True).click()
    expect(row(page, "echo").locator(".state")).to_have_text("idle")
    assert server.model_ready("echo")


def test_nothing_is_unloaded_without_a_yes(page: Page, server: atoll.Server) -> None:
    page.get_by_role("button", name="Unload doubles", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Unload doubles?")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Unload doubles", exact=True).click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.wait_for_timeout(500)
    assert "POST" not in asked
    assert server.model_ready("doubles")


def test_what_cannot_be_loaded_says_why(browser: Browser, listener: Any) -> None:
    with opened(browser, listener.http_port, quiet=False) as page:
        page.get_by_label("Model", exact=True).fill("nowhere")
        page.locator("#load").get_by_role("button").click()
        expect(page.locator("#done .bad")).to_contain_text("nowhere could not be loaded: ")
        page.locator("#done .bad").get_by_role("button", name="Close").click()
        expect(page.locator("#done li")).to_have_count(0)
        page.get_by_label("Model", exact=True).fill("../../../v2/health/live?#%41")
        page.locator("#load").get_by_role("button").click()
        expect(page.locator("#done .bad")).to_contain_text("could not be loaded: ")


def test_a_model_that_fails_to_load_anew_is_served_on_and_told(browser: Browser, tmp_path: Path) -> None:
    write_identity(tmp_path, "echo")
    server = atoll.Server(tmp_path, model_control_mode="explicit")
    with (
        atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener,
        opened(browser, listener.http_port, quiet=False) as page,
    ):
        page.get_by_label("Model", exact=True).fill("echo")
        page.get_by_label("Model", exact=True).press("Enter")
        expect(row(page, "echo").locator(".state")).to_have_text("idle")
        (tmp_path / "echo" / "config.pbtxt").write_text(SPOILT)
        page.get_by_role("button", name="echo version 1", exact=True).click()
        page.get_by_role("button", name="Load it anew").click()
        expect(page.locator("#done .bad")).to_contain_text("no-such-backend")
        expect(row(page, "echo").locator(".state")).to_have_text("failed")
        expect(page.locator("#concerns")).to_contain_text("What was loaded before is served on")
        assert server.model_ready("echo")


def test_where_models_are_not_loaded_on_demand_there_are_no_buttons(browser: Browser, tmp_path: Path) -> None:
    write_identity(tmp_path, "echo")
    server = atoll.Server(tmp_path)
    with (
        atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener,
        opened(browser, listener.http_port) as page,
    ):
        expect(row(page, "echo")).to_be_visible()
        expect(page.get_by_role("button", name="Unload echo")).to_have_count(0)
        expect(page.locator("#load")).to_be_hidden()


def test_the_key_is_asked_for_and_kept_in_the_tab(browser: Browser, locked: Any) -> None:
    with opened(browser, locked.http_port, quiet=False) as page:
        expect(page.get_by_role("dialog")).to_contain_text("This server asks for an API key")
        assert page.locator("#models tbody tr").count() == 0
        give(page, "wrong-".ljust(40, "y"))
        expect(page.get_by_role("alert")).to_contain_text("the API key is not known here")
        give(page, "with spaces in it")
        expect(page.get_by_role("alert")).to_contain_text("A key has no spaces")
        give(page, CLIENT)
        expect(page.get_by_role("alert")).to_contain_text("does not have the scope 'dashboard'")
        give(page, ADMIN)
        expect(row(page, "doubles")).to_be_visible()
        assert kept(page) == {"key": ADMIN}
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert ADMIN not in page.content()
        page.reload()
        expect(row(page, "doubles")).to_be_visible()
        page.get_by_role("button", name="Forget the key").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert kept(page) == {}
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Enter a key").click()
        give(page, VIEWER)
        expect(row(page, "doubles")).to_be_visible()


def test_a_key_shows_and_does_what_it_opens(browser: Browser, locked: Any, server: atoll.Server) -> None:
    with opened(browser, locked.http_port, quiet=False) as page:
        give(page, VIEWER)
        expect(row(page, "doubles")).to_be_visible()
        expect(page.get_by_role("button", name="Unload doubles")).to_have_count(0)
        expect(page.locator("#load")).to_be_hidden()
    with opened(browser, locked.http_port, quiet=False) as page:
        give(page, LIMITED)
        expect(row(page, "doubles")).to_be_visible()
        expect(page.locator("#models-title")).to_have_text("Models (1)")
        expect(page.locator("[data-tile=cpu]")).to_have_count(0)
        assert "waits" not in page.content()
    with opened(browser, locked.http_port, quiet=False) as page:
        give(page, ADMIN)
        page.get_by_label("Model", exact=True).fill("echo")
        page.get_by_label("Model", exact=True).press("Enter")
        expect(page.locator("#done")).to_contain_text("echo is loaded")
        unloaded(page, "echo")
        expect(page.locator("#done")).to_contain_text("echo is unloaded")


def test_secrets_of_restricted_apis_are_asked_for(browser: Browser, server: atoll.Server) -> None:
    restricted = ["statistics:X-Look=seen", "model-repository:X-Change=done"]
    with (
        atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0, http_restricted_api=restricted) as listener,
        opened(browser, listener.http_port, quiet=False) as page,
    ):
        expect(page.get_by_role("dialog")).to_contain_text("Value of the header X-Look")
        give(page, "guess")
        expect(page.get_by_role("alert")).to_contain_text("expecting header 'X-Look'")
        give(page, "seen")
        expect(row(page, "doubles")).to_be_visible()
        page.get_by_label("Model", exact=True).fill("echo")
        page.get_by_label("Model", exact=True).press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text(re.compile("Value of the header X-Change"))
        give(page, "done")
        expect(page.locator("#done")).to_contain_text("echo is loaded")
        assert kept(page) == {"headers": {"X-Look": "seen", "X-Change": "done"}}
