"""The page at /dashboard in a real browser: what it shows while a server works, fails and is gone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.conformance.model_folders import write_model
from tests.dashboard.conftest import HOSTILE, SPOILT, Traffic, cell, opened, row

import atoll
from atoll.errors import AtollError

pytestmark = pytest.mark.slow  # it starts a browser


def same(X: Any) -> dict[str, Any]:  # noqa: N803
    return {"Y": X}


def test_numbers_live_under_traffic(page: Page, server: atoll.Server) -> None:
    rate = cell(page, "doubles", "Requests/s")
    expect(rate).to_have_text("0")
    with Traffic(server, "doubles"):
        expect(rate).not_to_have_text("0")
        for label in ("p50", "p95", "p99"):
            expect(cell(page, "doubles", label)).to_have_text(re.compile(r"^[0-9.]+ ms$"))
        expect(cell(page, "doubles", "Queue, compute")).to_have_text(re.compile(r"^\d+%, \d+%$"))
        expect(cell(page, "doubles", "Batch")).to_have_text("1.0")
        expect(row(page, "doubles").locator(".state")).to_have_text("active")
        expect(page.locator("[data-tile=rate] .value")).not_to_have_text("0")
    expect(rate).to_have_text("0")  # ten seconds later nothing of it counts any more
    expect(row(page, "doubles").locator(".state")).to_have_text("idle")


def test_a_queue_is_seen(page: Page, server: atoll.Server) -> None:
    with Traffic(server, "waits", clients=24):
        expect(row(page, "waits").locator(".state")).to_have_text("queueing")
        expect(cell(page, "waits", "Waiting")).to_have_text(re.compile("^[1-9]"))
        expect(cell(page, "waits", "Batch")).to_have_text(re.compile("^[34]"))
        expect(page.locator("#concerns")).to_contain_text("of their time in the queue")
        expect(page.locator("[data-tile=slowest]")).to_contain_text("waits version 1")
        page.locator("[data-tile=slowest]").get_by_role("button").click()
        expect(page.locator("tr.more")).to_contain_text("Executions by batch size, lately")
        expect(page.locator("tr.more .bars")).to_contain_text("3-4")


def test_failures_are_on_top_with_reason_and_text(page: Page, server: atoll.Server) -> None:
    with Traffic(server, "fails"):
        concerns = page.locator("#concerns")
        expect(concerns).to_contain_text("fails version 1")
        expect(concerns).to_contain_text(re.compile(r"\d+ of \d+ requests failed in the last \d+ s: BACKEND \d+"))
        expect(page.locator("#models tbody tr").first).to_contain_text("fails")
        expect(cell(page, "fails", "Failures/s")).to_contain_text("in all")
        expect(page.locator("#announced")).to_have_text(re.compile("needs? attention: .*fails version 1"))
    errors = page.locator("#errors tbody tr", has_text="fails version 1")
    expect(errors).to_contain_text("BACKEND")
    expect(errors).to_contain_text("the table has no row 17")
    expect(errors).to_contain_text("times")


def test_what_models_and_clients_say_is_shown_as_text(page: Page, server: atoll.Server) -> None:
    with Traffic(server, "fails"):
        expect(page.locator("#errors tbody tr", has_text="fails").first).to_contain_text(HOSTILE.removesuffix("\u202e"))
    expect(page.locator("#errors tbody")).to_contain_text(f"request ID {HOSTILE}")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1


def test_hostile_names_are_names(browser: Browser) -> None:
    names = ["<b>bold", "__proto__", "constructor", '"onmouseover="alert(1)', "&lt;i&gt;", "x" * 255]
    server = atoll.Server()
    for name in names:
        server.add_model(name, same, inputs={"X": ("FP32", [2])}, outputs={"Y": ("FP32", [2])})
    with (
        atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener,
        opened(browser, listener.http_port) as page,
    ):
        for name in names:
            expect(page.get_by_role("button", name=f"{name} version 1", exact=True)).to_be_visible()
        expect(page.locator("#main b")).to_have_count(0)
        page.get_by_role("button", name="__proto__ version 1", exact=True).click()
        expect(page.locator("tr.more")).to_contain_text("none yet")
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]


def test_a_model_that_cannot_be_loaded_shows_why(page: Page, server: atoll.Server) -> None:
    with pytest.raises(AtollError):
        server.load_model("spoilt")
    expect(page.locator("#attention-title")).to_have_text(re.compile("attention"))
    expect(page.locator("#concerns li").first).to_contain_text("failed")
    expect(page.locator("#concerns li").first).to_contain_text("no-such-backend")
    expect(page).to_have_title(re.compile(r"^\(1 failed\) "))
    page.locator("#concerns").get_by_role("button", name="spoilt").click()
    expect(page.locator("tr.more")).to_contain_text("no-such-backend")


def test_no_models_is_explained(browser: Browser, tmp_path: Path) -> None:
    for mode, said in (("none", "Put a model into it"), ("explicit", "nothing has been loaded yet")):
        server = atoll.Server(tmp_path, model_control_mode=mode)
        with (
            atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener,
            opened(browser, listener.http_port) as page,
        ):
            expect(page.locator("#no-models")).to_contain_text(said)
            expect(page.locator("#no-errors")).to_be_visible()
            expect(page.locator("#load")).to_be_visible(visible=mode == "explicit")


def test_a_server_that_is_gone_is_told_and_found_again(browser: Browser, server: atoll.Server) -> None:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        port = listener.http_port
        context = opened(browser, port, quiet=False)
        page = context.__enter__()
        expect(page.locator("#connection")).to_have_text(re.compile("^Live"))
    try:
        expect(page.locator("#connection")).to_have_text(
            re.compile(r"^No answer from the server since .*\. Asking again in \d+ s\.$")
        )
        expect(page.locator("body")).to_have_class("stale")
        expect(row(page, "doubles")).to_be_visible()
        with atoll.listen(server, http_port=port, grpc_port=0, metrics_port=0):
            expect(page.locator("#connection")).to_have_text(re.compile("^Live"))
            expect(page.locator("body")).not_to_have_class("stale")
    finally:
        context.__exit__(None, None, None)


def test_a_hidden_page_does_not_ask(page: Page) -> None:
    asked: list[str] = []
    hide = """hidden => {
      Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(3000)
    assert not asked
    with page.expect_response("**/dashboard/data"):
        page.evaluate(hide, False)


def test_it_is_asked_every_two_seconds_and_no_more(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(7000)
    assert 1 <= len(asked) <= 5


def test_a_keyboard_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the models"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("doubles"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="doubles version 1", exact=True)).to_have_attribute("aria-expanded", "true")
    expect(page.locator("tr.more")).to_contain_text("Since it was loaded")
    page.wait_for_timeout(2500)  # a reading later it is where it was
    assert page.evaluate("document.activeElement.textContent").startswith("doubles")


def test_every_field_and_button_has_a_name(page: Page) -> None:
    nameless = page.evaluate(
        """[...document.querySelectorAll('input, select, button')]
          .filter(one => !one.hidden && !one.textContent.trim() && !one.labels?.length)
          .map(one => one.outerHTML)"""
    )
    assert not nameless


SIZES = ((1360, 900), (1080, 900), (800, 900), (390, 800))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_any_window_and_either_scheme(browser: Browser, listener: Any, scheme: str, size: Any) -> None:
    width, height = size
    with opened(browser, listener.http_port, color_scheme=scheme, viewport={"width": width, "height": height}) as page:
        expect(row(page, "doubles")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        light, dark = [sum(map(int, re.findall(r"\d+", one)[:3])) for one in colours]
        assert (light > dark) == (scheme == "light")
        assert abs(light - dark) > 500


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[atoll.Server]:
    server = atoll.Server(tmp_path, model_control_mode="explicit", exit_on_error=False)
    write_model(tmp_path, "aaa-broken", SPOILT)
    for number in range(500):
        server.add_model(
            f"model-{number:03}",
            same,
            inputs={"X": ("FP32", [2])},
            outputs={"Y": ("FP32", [2])},
        )
    with server:
        yield server


def test_five_hundred_models(browser: Browser, fleet: atoll.Server) -> None:
    with pytest.raises(AtollError):
        fleet.load_model("aaa-broken")
    with (
        atoll.listen(fleet, http_port=0, grpc_port=0, metrics_port=0) as listener,
        opened(browser, listener.http_port) as page,
        Traffic(fleet, "model-444"),
    ):
        rows = page.locator("#models tbody tr:not(.more)")
        expect(rows).to_have_count(50)
        expect(rows.nth(0)).to_contain_text("aaa-broken")
        expect(rows.nth(1)).to_contain_text("model-444")
        expect(page.locator("#models-title")).to_have_text("Models (501)")
        page.get_by_label("Find").fill("model-12")
        expect(rows).to_have_count(10)
        page.get_by_label("Find").fill("failed")
        expect(rows).to_have_count(1)
        page.get_by_label("Find").fill("no such thing")
        expect(page.locator("#no-models")).to_have_text("No model fits “no such thing”.")
        page.get_by_label("Find").fill("")
        page.get_by_role("button", name="Show all 501").click()
        expect(rows).to_have_count(501)
        page.get_by_label("Order").select_option("rate")
        expect(rows.nth(0)).to_contain_text("model-444")
        page.locator("th").get_by_role("button", name="Model").click()
        expect(rows.nth(500)).to_contain_text("model-499")
