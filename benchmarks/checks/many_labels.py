"""Ten thousand pictures in a folder: the time until the page shows the first and the next, and the server's memory.

python benchmarks/checks/many_labels.py -o benchmarks/results/many-labels.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.harness import record  # noqa: E402

SIZE, KINDS, PARTS = (480, 640), 50, 17
FIRST_SECONDS, NEXT_SECONDS = 1.0, 0.1
RIGHT = "dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))"


def write_folder(folder: Path, count: int) -> None:
    """Write JPEGs of noise around a spot, each hard-linked many times to save disk space, and their labels."""
    random = np.random.default_rng(0)
    for kind in range(KINDS):
        picture = cv2.GaussianBlur(random.integers(0, 256, (*SIZE, 3), dtype=np.uint8), (9, 9), 3)
        cv2.circle(picture, (40 + 11 * kind, 240), 30, (40, 220, 250), cv2.FILLED)
        cv2.imwrite(str(folder / f".kind-{kind}.jpg"), picture)
    for number in range(count):
        os.link(folder / f".kind-{number % KINDS}.jpg", folder / f"walk-{number:06d}.jpg")
    names = [f"part_{part}" for part in range(PARTS)]
    head = ["image", *(f"{name}_{axis}" for name in names for axis in "xy")]
    points = random.uniform(0, 470, (count, 2 * PARTS))
    rows = [[f"walk-{n:06d}.jpg", *(f"{value:.2f}" for value in points[n])] for n in range(0, count, 2)]
    (folder / "labels.csv").write_text("\n".join(",".join(row) for row in [head, *rows]) + "\n")


def resident_mb(process: int) -> float:
    """Return the resident memory of a process, MB."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) / 1024 if found else float("nan")


def wait(driver: Any, script: str) -> None:
    """Wait until a script returns true."""
    end = time.monotonic() + 60
    while not driver.execute_script(f"return {script}"):
        if time.monotonic() > end:
            raise TimeoutError(script)
        time.sleep(0.01)


def measure(folder: Path, steps: int) -> dict[str, Any]:
    """Start the server, open the page, go through pictures, change every tenth."""
    from selenium import webdriver

    command = [sys.executable, "-m", "cpm_fast", "label", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        assert server.stdout is not None
        address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        started = time.perf_counter()
        driver.get(address)
        wait(driver, "document.body.dataset.picture === '0'")
        first = time.perf_counter() - started
        before, nexts, saves = resident_mb(server.pid), [], []
        for step in range(1, steps + 1):
            driver.execute_script(RIGHT)
            wait(driver, f"document.body.dataset.picture === '{step}'")
            nexts.append(float(driver.execute_script("return document.body.dataset.shownMs")) / 1000)
            if step % 10 == 0:
                saving = time.perf_counter()
                driver.execute_script("dispatchEvent(new KeyboardEvent('keydown', {key: 'x'}))")
                wait(driver, "document.body.dataset.saved === 'yes'")
                saves.append(time.perf_counter() - saving)
        heap = driver.execute_script("return performance.memory ? performance.memory.usedJSHeapSize / 1048576 : null")
        return {
            "first_picture_s": first,
            "next_median_s": float(np.median(nexts)),
            "next_p95_s": float(np.quantile(nexts, 0.95)),
            "save_median_s": float(np.median(saves)),
            "server_mb_before": before,
            "server_mb_after": resident_mb(server.pid),
            "page_heap_mb": heap,
            "steps": steps,
        }
    finally:
        driver.quit()
        server.kill()
        server.wait()


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000, help="in the folder (%(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="pictures to go through (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file to write")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_folder(folder, options.pictures)
        found = {
            "command": "python benchmarks/checks/many_labels.py",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": record.commit(),
            "versions": record.versions(),
            "pictures": options.pictures,
            **measure(folder, options.steps),
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
        }
    print(json.dumps(found, indent=1))
    late = found["first_picture_s"] > FIRST_SECONDS or found["next_median_s"] > NEXT_SECONDS
    print("too slow" if late else "quick enough: first picture under 1 s, next under 100 ms")
    if options.output is not None:
        record.write(options.output, found)


if __name__ == "__main__":
    main()
