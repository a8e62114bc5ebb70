"""Create docs/images/report.png: the report of the demo's recording in a real browser.

    make browser                       # installs Chromium
    python scripts/report_image.py

The recording is that of the demo with `robot_speaking` messages at its end.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from chromium import open_chromium  # noqa: E402

from erc_ros.adapters import BOOL  # noqa: E402
from erc_ros.cli import main  # noqa: E402
from erc_ros.demo.conversation_bag import (  # noqa: E402
    START,
    write_demo,
    write_demo_truth,
)
from erc_ros.replay.bag import Bag, BagWriter  # noqa: E402
from erc_ros.values.nanoseconds import seconds  # noqa: E402

IMAGE = ROOT / "docs" / "images" / "report.png"
ROBOT = ((47.6, True), (49.4, False))  # s, messages of `robot_speaking`
COLORS = 128
"""Number of colors of the file, which reduces its size to a third."""
SHOW = """
const section = document.querySelector(".recording");
section.querySelector(".b[data-row='0']").click();
document.getElementById("player").pause();
section.scrollIntoView();
return document.querySelector("#detail img").complete;
"""


def recording(folder: Path) -> Path:
    """Write the demo's recording with `robot_speaking` messages."""
    path = folder / "kitchen"
    with Bag(write_demo(folder / "demo")) as demo, BagWriter(path) as writer:
        for record in demo.messages({topic.name for topic in demo.topics}):
            writer.write(record.topic, record.type, record.time, record.message)
        for time, speaks in ROBOT:
            message = writer.new(BOOL, data=speaks)
            writer.write("/robot_speaking", BOOL, START + seconds(time), message)
    return path


def screenshot(report: Path, profile: Path) -> bytes:
    """Return a PNG of a report with its first utterance selected."""
    browser = open_chromium(profile)
    try:
        browser.set_window_size(1280, 1300)
        browser.get(report.as_uri())
        WebDriverWait(browser, 60).until(lambda page: page.execute_script(SHOW))
        image: bytes = browser.get_screenshot_as_png()
    finally:
        browser.quit()
    return image


def write() -> None:
    """Write the image."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = write_demo_truth(folder / "truth.csv")
        out = folder / "out"
        line = ["evaluate", str(recording(folder)), "--truth", str(truth), "--out", str(out)]
        if status := main([*line, "--cache", "none"]):
            raise SystemExit(status)
        png = screenshot(out / "report.html", folder / "profile")
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS).save(IMAGE, optimize=True)


if __name__ == "__main__":
    write()
