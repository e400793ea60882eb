"""A real Airflow, and a real browser that looks at it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright

from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.stack import LocalStack
from tests.support.chromium import chromium

#: The browser is given nothing that asks the world outside. Its sandbox needs rights that root in a container lacks.
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
#: So tall that a dialog is seen as a whole.
VIEWPORT = {"width": 1280, "height": 2900}
PATIENCE = 60.0


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as running:
        yield running


@pytest.fixture(scope="session")
def airflow(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """An Airflow that has no connection but that to Vault."""
    with LocalAirflow(tmp_path_factory.mktemp("dags")) as running:
        running.add_connection("vault_bloq", stack.connections()["vault_bloq"])
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.program, env={**found.environment} or None, args=SWITCHES
        )
        yield browser
        browser.close()


@pytest.fixture
def seen() -> list[bytes]:
    """What Airflow has sent to the browser."""
    return []


@pytest.fixture
def page(airflow: LocalAirflow, browser: Browser, seen: list[bytes]) -> Iterator[Page]:
    """A page on which somebody is logged in."""
    context = browser.new_context(viewport=VIEWPORT, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    user, password = airflow.login
    page.goto(airflow.url)
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)

    def hand_on(route: Route) -> None:
        answer = route.fetch()
        seen.append(answer.body())
        route.fulfill(response=answer)

    page.route("**/api/v2/**", hand_on)
    yield page
    page.unroute_all(behavior="wait")
    context.close()


@pytest.fixture(scope="session")
def screenshot() -> Callable[[Page | Locator, str], None]:
    """Keep a picture of what is seen, for the documentation."""
    folder = Path(os.environ.get("BLOQ_SCREENSHOTS") or "build/screenshots")

    def take(shown: Page | Locator, name: str) -> None:
        shown.screenshot(path=folder / f"{name}.png", animations="disabled")

    return take
