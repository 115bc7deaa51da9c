"""A real browser, headless: Debian's Chromium, installed where it is not and can be."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_S = 600
expect.set_options(timeout=30_000)  # ms: a machine may be slow


def find_browser() -> str:
    """The path of one, or ""."""
    return next(filter(None, map(shutil.which, NAMES)), "")


def install_browser() -> str:
    """Why it cannot be installed, "" where it was."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return "there is no Chromium, and installing it takes root and apt"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        try:
            done = subprocess.run(
                ["apt-get", "-qq", *command],
                env=environment,
                capture_output=True,
                text=True,
                timeout=INSTALL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {command[0]} took more than {INSTALL_S} s"
    return "" if find_browser() else f"apt-get could not install chromium: {done.stderr.strip()[-500:]}"


@pytest.fixture(scope="module")  # not longer: the thread counts as one with a running event loop until it ends
def browser() -> Iterator[Browser]:
    if not find_browser():
        reason = install_browser()
        if reason:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with sync_playwright() as playwright:
        # its sandbox needs what containers do not give; the pages are this server's own
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, *, refusals: bool = False, **context: Any) -> Iterator[Page]:
    """A page that asks nobody but its server and leaves its console empty, but for `refusals`: answers with errors."""
    there = browser.new_context(**context)
    try:
        page = there.new_page()
        page.set_default_timeout(20_000)
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(f"page error: {error}"))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.goto(url)
        yield page
        here = urlsplit(url).netloc
        assert not [one for one in asked if urlsplit(one).netloc != here and not one.startswith("data:")]
        assert not [text for text in said if not refusals or "Failed to load resource" not in text]
    finally:
        there.close()
