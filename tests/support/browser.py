"""Chromium without a window, which looks at a hub's pages, and what axe says of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

REQUIRED = "HUBKIT_TEST_BROWSER_REQUIRED"
"""The variable that makes a missing browser a failure rather than a skip."""

PICTURES = "HUBKIT_TEST_PICTURES"
"""The variable that names a folder for pictures of pages."""

# Nothing is asked of the network but the hub, and nothing is kept.
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1"),
)
_AXE = """
const done = arguments[arguments.length - 1];
const rules = arguments[0] && {runOnly: [arguments[0]]};
axe.run(document, {resultTypes: ["violations"], ...rules}).then(
  found => done(found.violations.filter(one => ["serious", "critical"].includes(one.impact)).map(
    one => `${one.id}: ${one.help}: ${one.nodes.map(node => node.html).join(" | ")}`)),
  error => done(["axe failed: " + error]));
"""


class Browser:
    """A browser, and the hub that it looks at.

    Args:
        driver: Drives it.
        hub: The URL of the hub.
    """

    def __init__(self, driver: Chrome, hub: str) -> None:
        self.driver, self.hub = driver, hub

    def open(self, path: str) -> None:
        """Go to a page of the hub."""
        self.driver.get(self.hub + path)

    @property
    def path(self) -> str:
        """Where it is, below the address of the hub."""
        return str(self.driver.current_url).removeprefix(self.hub)

    def arrive(self, part: str) -> None:
        """Wait until the browser is at a page with something in its path or query, all of it."""
        self._wait(lambda: part in self.path)
        self._wait(lambda: bool(self.run("return document.readyState === 'complete'")))

    def hear(self, words: str) -> None:
        """Wait until the page says something to who cannot see it."""
        said = "return document.querySelector('[role=status]').textContent"
        self._wait(lambda: self.run(said) == words)

    def _wait(self, happened: Callable[[], bool]) -> None:
        WebDriverWait(self.driver, 20, poll_frequency=0.02).until(lambda driver: happened())

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.driver.find_element("tag name", "body").text)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, which its policy does not keep from running."""
        return self.driver.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        ActionChains(self.driver).send_keys(*keys).perform()

    @property
    def focused(self) -> str:
        """The text of what has the focus, else its name, else its tag."""
        found = self.run(
            "const one = document.activeElement;"
            "return one.labels?.[0]?.innerText || one.innerText || one.ariaLabel || one.tagName"
        )
        return " ".join(str(found).split())

    def tab(self, *, to: str, most: int = 60) -> list[str]:
        """Press Tab until something has the focus; return all that had it on the way."""
        seen = []
        for _ in range(most):
            self.press(Keys.TAB)
            seen.append(self.focused)
            if seen[-1] == to:
                return seen
        raise AssertionError(f"{to!r} never has the focus, but these: {seen}")

    def told(self) -> list[str]:
        """What the console says since it was asked last: errors, and what the policy blocked.

        Without the status of a page, which is an error there, too.
        """
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if "Failed to load resource: the server responded with a status" not in entry["message"]
        ]

    def problems(self, rule: str | None = None) -> list[str]:
        """What axe calls serious or critical, by one rule or by all of them."""
        if not self.run("return Boolean(window.axe)"):
            self.run(_axe_script())
        found: list[str] = self.driver.execute_async_script(_AXE, rule)  # type: ignore[no-untyped-call]
        return found

    @contextmanager
    def theme(self, name: str) -> Iterator[None]:
        """Prefer a dark or light theme until the block ends."""
        self._emulate("setEmulatedMedia", features=[_feature(name)])
        try:
            yield
        finally:
            self._emulate("setEmulatedMedia", features=[])

    @contextmanager
    def screen(self, width: int, height: int) -> Iterator[None]:
        """Have a screen of another size until the block ends."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._emulate("setDeviceMetricsOverride", **size)
        try:
            yield
        finally:
            self._emulate("clearDeviceMetricsOverride")

    @contextmanager
    def without_script(self) -> Iterator[None]:
        """Run no script of any page until the block ends."""
        self._emulate("setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self._emulate("setScriptExecutionDisabled", value=False)

    def picture(self, name: str) -> None:
        """Take a picture of the top of the page for the documentation, if that is asked for."""
        folder = os.environ.get(PICTURES)
        if folder:
            with self.screen(960, 640):
                self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))

    def _emulate(self, what: str, **how: Any) -> None:
        self.driver.execute_cdp_cmd(f"Emulation.{what}", how)  # type: ignore[no-untyped-call]


def _feature(theme: str) -> dict[str, str]:
    return {"name": "prefers-color-scheme", "value": theme}


def _axe_script() -> str:
    import axe_playwright_python

    folder = Path(axe_playwright_python.__file__).parent
    return (folder / "axe.min.js").read_text(encoding="utf-8")


@contextmanager
def browsing(hub: str, profile: Path) -> Iterator[Browser]:
    """Start a browser that looks at a hub; skip the test where there is none.

    Args:
        hub: Its URL.
        profile: An empty folder for what a browser keeps.
    """
    program, driver_program = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver_program is None:
        reason = f"no chromium and chromedriver: `make browser` installs them ({REQUIRED} is read)"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = program
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)  # type: ignore[no-untyped-call]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, ChromeService(driver_program))
    try:
        driver.set_page_load_timeout(30)
        driver.set_script_timeout(30)
        yield Browser(driver, hub)
    finally:
        driver.quit()
