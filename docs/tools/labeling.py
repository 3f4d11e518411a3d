"""The pictures of docs/labeling.md: the page on drawn figures, in headless Chromium, and a contact sheet."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn
from selenium import webdriver

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.labeling.predictions import in_part_order
from cpm_fast.labeling.ranking import contact_sheet, examine, rank
from cpm_fast.labeling.server import listen, make_app
from cpm_fast.labeling.store import Store
from cpm_fast.labeling.table import LabeledSubject
from cpm_fast.results.drawing import write_picture
from cpm_fast.weights import DRAWN, load

FIGURES, SHOWN, SIZE = 24, 5, (1280, 800)


def browser() -> Any:
    """Return a driver of headless Chromium with pages of SIZE."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    metrics = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    return driver


def wait(driver: Any, condition: str) -> None:
    """Wait until a script returns true."""
    end = time.monotonic() + 60
    while not driver.execute_script(f"return {condition}"):
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.1)
    time.sleep(1.0)


def save(driver: Any, path: Path) -> None:
    """Save a screenshot as JPEG, a third of the PNG's size."""
    data = np.frombuffer(driver.get_screenshot_as_png(), np.uint8)
    write_picture(cv2.imdecode(data, cv2.IMREAD_COLOR), path)


def press(driver: Any, key: str) -> None:
    """Press a key in the page."""
    driver.execute_script(f"dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
    wait(driver, "document.body.dataset.saved !== 'waiting'")


def main(arguments: list[str]) -> None:
    """Write three pictures into a folder, docs/ if none is given."""
    out = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    model = load(DRAWN, device="cpu")
    drawn = DrawnFigures(FIGURES, seed=11)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "walkers" / "frames"
        folder.mkdir(parents=True)
        names = [f"walk-{37 * number:06d}.png" for number in range(FIGURES)]
        for number, name in enumerate(names):
            cv2.imwrite(str(folder / name), drawn[number].image)
        store = Store(folder, model.skeleton)
        candidates = examine(folder, names, model, True, False)
        for number, candidate in enumerate(candidates):
            store.predict(number, in_part_order(candidate.result, model.skeleton))
        for number in range(SHOWN):
            sample = drawn[number]
            points = tuple(
                (float(x), float(y), 2) if there else None
                for (x, y), there in zip(sample.parts_image, sample.labeled, strict=True)
            )
            store.save(number, store.picture(number)["revision"], [LabeledSubject(points)], "labeled")
        surest = min(candidates[SHOWN:], key=lambda candidate: candidate.criteria["low_peaks"])
        sheet = contact_sheet(folder, rank(candidates[SHOWN:], 8), model.skeleton)
        write_picture(sheet, out / "labeling-suggestions.jpg")
        shoot(store, surest.image, out)
        store.close()
    print(f"wrote {out}/labeling-page.jpg, {out}/labeling-corrected.jpg, {out}/labeling-suggestions.jpg")


def shoot(store: Store, image: str, out: Path) -> None:
    """Draw the page with a prediction, light, and with a correction, dark."""
    listening = listen(0)
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_app(store, "token", port), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    driver = browser()
    try:
        driver.get(f"http://127.0.0.1:{port}/token/")
        wait(driver, "document.body.dataset.ready === 'yes'")
        # The page begins with the picture that was shown last.
        driver.execute_script(f"localStorage.setItem('last:frames', '{image}')")
        driver.refresh()
        wait(driver, "document.body.dataset.ready === 'yes'")
        save(driver, out / "labeling-page.jpg")
        press(driver, "a")
        press(driver, "t")
        save(driver, out / "labeling-corrected.jpg")
    finally:
        driver.quit()
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
