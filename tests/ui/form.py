"""The form of a connection in Airflow's web page, as a person uses it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page

__all__ = ["ConnectionForm", "Connections"]

#: The parts of the form that are folded at first.
EXTRA = "Extra Fields"


class ConnectionForm:
    """The dialog in which a connection is made or changed.

    :param page: The page on which it is open.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self.dialog = page.get_by_role("dialog")

    def choose_type(self, name: str) -> None:
        """Choose the type of the connection by what the list calls it."""
        self.dialog.get_by_role("combobox").first.fill(name)
        self.dialog.page.get_by_role("option", name=name, exact=True).click()

    def unfold(self) -> None:
        """Show the fields that are the provider's own."""
        self.dialog.get_by_role("button", name=EXTRA, exact=True).click()
        self.dialog.locator("[id^=element_]").first.wait_for()

    def standard(self, name: str) -> Locator:
        """Find one of the fields that every connection has."""
        return self.dialog.locator(f"input[name={name}]")

    def field(self, name: str) -> Locator:
        """Find one of the fields of the provider."""
        return self.dialog.locator(f"[name=element_{name}], #element_{name} input").first

    def choose(self, name: str, value: str) -> None:
        """Choose a value from the list of a field."""
        self.dialog.locator(f"#element_{name} input[type=text]").fill(value)
        self._page.get_by_role("option", name=value, exact=True).click()

    def write_json(self, name: str, text: str) -> None:
        """Write into the editor of a field, in place of what is there."""
        editor = self.dialog.locator(f"#element_{name}")
        editor.locator(".view-lines").click()
        self._page.keyboard.press("ControlOrMeta+A")
        self._page.keyboard.insert_text(text)
        # The editor closes by itself what is opened, and puts it behind what was written.
        self._page.keyboard.press("ControlOrMeta+Shift+End")
        self._page.keyboard.press("Delete")
        # The form takes over what was written when the editor is left.
        self.field("vault_path").click()

    def save(self) -> None:
        """Press the button, and wait until Airflow has stored it."""
        with self._page.expect_response(lambda answer: answer.request.method in ("POST", "PATCH")) as answer:
            self.dialog.get_by_role("button", name="Save").click()
        assert answer.value.ok, answer.value.text()
        self.dialog.wait_for(state="hidden")


class Connections:
    """The list of connections.

    :param page: A page on which somebody is logged in.
    :param url: Of Airflow.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(f"{url}/connections")

    def add(self) -> ConnectionForm:
        """Open the form for a new one."""
        self.page.get_by_role("button", name="Add Connection").click()
        return ConnectionForm(self.page)

    def edit(self, conn_id: str) -> ConnectionForm:
        """Open the form of one that is stored."""
        self._row(conn_id).get_by_role("button", name="Edit Connection").click()
        return ConnectionForm(self.page)

    def test(self, conn_id: str) -> dict[str, Any]:
        """Press the button that tests one, and return the answer."""
        with self.page.expect_response(lambda answer: answer.url.endswith("/connections/test")) as answer:
            self._row(conn_id).get_by_role("button", name="Test Connection").click()
        return dict(answer.value.json())

    def told(self, title: str) -> Locator:
        """Find the notice with this title."""
        return self.page.get_by_role("status").filter(has_text=title).last

    def _row(self, conn_id: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=conn_id)
