"""The page at /docs in a real browser: what it shows, what it sends, and that a keyboard is enough."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests import browser as browsing
from tests.conformance.wire import Exchange
from tests.unit.frontends.access.key_files import key_text, put

import atoll

pytestmark = pytest.mark.slow  # it starts a browser

INFER = "post_v2_models_model_infer"


def doubled(**inputs: Any) -> dict[str, Any]:
    return {"Y": inputs["X"] * 2}


def echoed(**inputs: Any) -> dict[str, Any]:
    return {"T_OUT": inputs["T"]}


@pytest.fixture(scope="module")
def server() -> Iterator[atoll.Server]:
    server = atoll.Server(model_control_mode="explicit")
    server.add_model("doubles", doubled, inputs={"X": ("FP32", [3])}, outputs={"Y": ("FP32", [3])})
    server.add_model("echoes", echoed, inputs={"T": ("BYTES", [1])}, outputs={"T_OUT": ("BYTES", [1])})
    with server:
        yield server


@pytest.fixture(scope="module")
def listener(server: atoll.Server) -> Iterator[Any]:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        yield listener


@pytest.fixture
def page(browser: Browser, listener: Any) -> Iterator[Page]:
    with browsing.opened(browser, f"http://127.0.0.1:{listener.http_port}/docs", refusals=True) as page:
        expect(page.locator("details").first).to_be_visible()
        yield page


def opened(page: Page, operation: str) -> Locator:
    details = page.locator(f"#{operation}")
    details.locator("summary").click()
    return details


def sent(details: Locator, status: str = "200") -> str:
    details.get_by_role("button", name="Send").click()
    expect(details.get_by_role("status")).to_contain_text(status)
    return details.get_by_label("The answer's body").inner_text()


def test_every_operation_of_the_document_is_there(page: Page, listener: Any) -> None:
    document = Exchange.ask("127.0.0.1", listener.http_port, "GET", "/openapi.json").json()
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert sorted(page.locator("details").evaluate_all("all => all.map(one => one.id)")) == sorted(ids)
    assert page.title() == document["info"]["title"]
    headings = page.locator("h2").all_inner_texts()
    assert headings == [tag["name"] for tag in document["tags"]]


def test_the_example_of_a_model_is_sent_and_answered(page: Page) -> None:
    details = opened(page, INFER)
    assert details.get_by_label("The model's name").input_value() == "doubles"
    answer = json.loads(sent(details))
    assert answer["model_name"] == "doubles"
    assert answer["outputs"][0]["data"] == [0, 1, 2]
    assert "curl -X POST 'http://127.0.0.1" in details.get_by_label("The same with curl").inner_text()


def test_another_model_brings_its_own_example(page: Page) -> None:
    details = opened(page, INFER)
    page.get_by_label("Model", exact=True).fill("echoes")
    page.get_by_label("Model", exact=True).press("Tab")
    answer = json.loads(sent(details))
    assert (answer["model_name"], answer["outputs"][0]["data"]) == ("echoes", ["text 1"])


def test_what_is_typed_is_what_is_sent(page: Page) -> None:
    details = opened(page, INFER)
    body = {"id": "mine", "inputs": [{"name": "X", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}]}
    details.get_by_label("Body, JSON").fill(json.dumps(body))
    answer = json.loads(sent(details))
    assert (answer["id"], answer["outputs"][0]["data"]) == ("mine", [2, 4, 6])


def test_refusals_are_shown(page: Page) -> None:
    details = opened(page, INFER)
    details.get_by_label("The model's name").fill("nope")
    assert "Request for unknown model: 'nope' is not found" in sent(details, "404")
    details.get_by_label("The model's name").fill("")
    details.get_by_role("button", name="Send").click()
    expect(details.get_by_role("status")).to_contain_text("Not sent: a field is empty.")


def test_a_stream_of_events_is_shown(page: Page) -> None:
    page.get_by_label("Model", exact=True).fill("echoes")
    answer = sent(opened(page, "post_v2_models_model_generate_stream"))
    assert answer.startswith("data: {")
    assert json.loads(answer.removeprefix("data: "))["T_OUT"] == "text 1"


def test_answers_cannot_bring_markup(page: Page, server: atoll.Server) -> None:
    details = opened(page, "post_v2_models_model_generate")
    page.get_by_label("Model", exact=True).fill("echoes")
    page.get_by_label("Model", exact=True).press("Tab")
    details.get_by_label("Body, JSON").fill(json.dumps({"T": "<img src=x onerror=alert(1)>"}))
    assert "<img src=x" in sent(details)
    assert page.locator("img").count() == 0


def test_a_keyboard_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the endpoints"
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.parentElement.id") == "get_v2":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#get_v2 button")).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Send"
    page.keyboard.press("Enter")
    expect(page.locator("#get_v2").get_by_role("status")).to_contain_text("200")


def test_everything_has_a_name_for_who_does_not_see_it(page: Page) -> None:
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    unnamed = page.locator("input, select, textarea, button").evaluate_all(
        """all => all.filter(one => !(one.labels?.length || one.textContent.trim() || one.ariaLabel))
                     .map(one => one.outerHTML)"""
    )
    assert not unnamed
    ids = page.locator("[id]").evaluate_all("all => all.map(one => one.id)")
    assert len(set(ids)) == len(ids)
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.locator("main").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser: Browser, listener: Any, scheme: str) -> None:
    """WCAG's contrast of 4.5 for every color that text has here."""
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{listener.http_port}/docs")
    colors = page.evaluate(
        """() => {
          const style = getComputedStyle(document.documentElement);
          return Object.fromEntries(["text", "link", "good", "bad", "page", "soft"].map(
            name => [name, style.getPropertyValue("--" + name).trim()]));
        }"""
    )
    context.close()
    for text in ("text", "link", "good", "bad"):
        assert contrast(colors[text], colors["page"]) >= 4.5
    assert contrast(colors["text"], colors["soft"]) >= 4.5


def contrast(one: str, other: str) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_page_fits_a_phone(browser: Browser, listener: Any) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{listener.http_port}/docs")
    expect(page.locator("details").first).to_be_visible()
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_the_key_that_is_typed_is_used(browser: Browser, server: atoll.Server, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    put(keys, key_text({"name": "a", "key": "key-a"}))
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0, api_key_file=str(keys)) as listener:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{listener.http_port}/docs")
        details = opened(page, "get_v2")
        assert "error" in sent(details, "401")
        page.get_by_label("API key, where the server asks for one").fill("key-a")
        assert json.loads(sent(details))["name"] == "atoll"
        infer = opened(page, INFER)
        assert infer.get_by_label("The model's name").input_value() == "", "names are shown to who may ask for them"
        infer.get_by_label("The model's name").fill("echoes")
        body = {"inputs": [{"name": "T", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}
        infer.get_by_label("Body, JSON").fill(json.dumps(body))
        assert json.loads(sent(infer))["outputs"][0]["data"] == ["x"]
        context.close()
