"""The page of `erc live` in a real browser."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from chromium import needs_chromium, open_chromium
from media_clips import write_media

pytest.importorskip("selenium", reason="selenium is missing: pip install selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from erc_ros.demo.conversation_bag import DIALOGUE, perform, portrait
from erc_ros.demo.voices import synthesiser
from erc_ros.live.page import LivePage
from erc_ros.live.session import LiveSession
from erc_ros.media.devices import Clock, FileCamera, FileMicrophone
from erc_ros.pipeline import Pipeline, PipelineConfig

PATIENCE = 60  # s; a machine may be busy


@needs_chromium
def test_a_browser_shows_image_boxes_and_estimates(tmp_path: Path) -> None:
    audio, phrases = perform(DIALOGUE[:1], synthesiser())
    camera = portrait(phrases)
    face = camera(phrases[0].start + 0.5)
    images = [(n / 10, face) for n in range(len(audio) // 1600)]
    film = write_media(tmp_path / "talk.mp4", [audio], rate=16_000, images=images)
    browser = open_chromium(tmp_path / "profile")
    with Pipeline(PipelineConfig()) as pipeline:
        page = LivePage(pipeline)
        try:
            browser.get(page.url)
            session = LiveSession(
                pipeline, [FileMicrophone(film), FileCamera(film)], None, 5.0, [page]
            )
            session.run(Clock(), threading.Event())
            wait = WebDriverWait(browser, PATIENCE)
            wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#rows li .emotion"))
            wait.until(lambda b: b.find_element(By.ID, "image").is_displayed())
            assert browser.find_elements(By.CSS_SELECTOR, "#rows li .reason")
            wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#boxes rect"))
        finally:
            page.close()
        wait.until(lambda b: b.find_element(By.ID, "state").text == "ended")
        errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        browser.save_screenshot(str(tmp_path / "page.png"))
        browser.quit()
    assert errors == []
