"""Headless Chromium on the labeling page, with the actions of a person who labels."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WAIT_SECONDS = 30.0


def start_browser() -> Any:
    """Return a driver; skip if Chromium is missing."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium, the extra browser")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("needs chromium and chromedriver; Debian: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.ChromeService(programs[1])
    driver = selenium.Chrome(options=options, service=service)
    return driver


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true result; fail after a while."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    pytest.fail(f"waited {WAIT_SECONDS:.0f} s for {what}")


class Page:
    """One window with the page of a server."""

    def __init__(self, driver: Any, address: str, size: tuple[int, int] = (1280, 800)) -> None:
        self.driver = driver
        driver.switch_to.new_window("tab")
        self.window = driver.current_window_handle
        self.size(*size)
        self.open(address)

    def open(self, address: str) -> None:
        self.focus()
        self.driver.get(address)
        until(lambda: self.data("ready") == "yes" and self.data("picture"), "the page")

    def size(self, width: int, height: int) -> None:
        """Give the page, not the window, this size; it holds for one tab."""
        self.focus()
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        if self.driver.current_url.startswith("http"):
            until(lambda: self.run("return window.innerWidth") == width, f"a page {width} px wide")
            self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def focus(self) -> None:
        if self.driver.current_window_handle != self.window:
            self.driver.switch_to.window(self.window)

    def run(self, script: str) -> Any:
        self.focus()
        return self.driver.execute_script(script)

    def data(self, name: str) -> str | None:
        return self.run(f"return document.body.dataset.{name}")

    def text(self, element: str) -> str:
        return self.run(f"return document.getElementById('{element}').textContent")

    def keys(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        self.focus()
        actions = ActionChains(self.driver)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def chord(self, modifier: str, key: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        self.focus()
        ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def scale(self) -> float:
        """Return the pixels of the page per pixel of the picture."""
        return json.loads(self.run("return document.getElementById('stage').dataset.view"))[0]

    def place(self, x: float, y: float) -> tuple[int, int]:
        """Return the place of an image pixel in the window."""
        scale, left, top = json.loads(self.run("return document.getElementById('stage').dataset.view"))
        box = self.run("const b = document.getElementById('stage').getBoundingClientRect(); return [b.left, b.top]")
        return round((x + 0.5) * scale + left + box[0]), round((y + 0.5) * scale + top + box[1])

    def click(self, x: float, y: float, button: str = "click") -> None:
        self._pointer(lambda pointer: getattr(pointer, button)(), (x, y))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        self.focus()
        builder = ActionBuilder(self.driver, duration=20)
        pointer = builder.pointer_action
        pointer.move_to_location(*self.place(*start))
        pointer.pointer_down()
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        pointer.move_to_location(*self.place(*middle))
        pointer.move_to_location(*self.place(*end))
        pointer.pointer_up()
        builder.perform()

    def _pointer(self, act: Callable[[Any], Any], at: tuple[float, float]) -> None:
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        self.focus()
        builder = ActionBuilder(self.driver, duration=10)
        builder.pointer_action.move_to_location(*self.place(*at))
        act(builder.pointer_action)
        builder.perform()

    def go(self, key: str, picture: int) -> None:
        self.keys(key)
        until(lambda: self.data("picture") == str(picture), f"picture {picture}")

    def saved(self) -> None:
        until(lambda: self.data("saved") == "yes" and self.text("saved") == "saved", "the page to save")

    def screenshot(self, path: Path) -> None:
        self.focus()
        self.driver.save_screenshot(str(path))

    def errors(self) -> list[str]:
        """Return the browser's errors; failed requests to a stopped server are not errors of the page."""
        self.focus()
        lines = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [line for line in lines if "ERR_CONNECTION" not in line and "409" not in line]
