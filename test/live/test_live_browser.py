"""The page of `erc live` and `erc web` in a real browser."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from chromium import needs_chromium, open_chromium
from media_clips import write_media

pytest.importorskip("selenium", reason="selenium is missing: pip install selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from erc_ros.demo.conversation_bag import DIALOGUE, perform, portrait
from erc_ros.demo.voices import synthesiser
from erc_ros.live.page import Action, LivePage, Page
from erc_ros.live.session import LiveSession
from erc_ros.media.devices import Clock, FileCamera, FileMicrophone
from erc_ros.pipeline import Pipeline, PipelineConfig
from erc_ros.replay.rows import Row

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


class PeoplePage(Page):
    """Two people, of whom nothing else is known; keeps the actions."""

    ACTIONS = ("enrol", "forget", "opt-in", "opt-out")

    def __init__(self) -> None:
        self.actions: list[Action] = []
        super().__init__()

    def _more(self) -> dict[str, Any]:
        known = {"id": "<b>anna</b>", "speaker": "c1/0", "modalities": ["text"], "since": "12:00"}
        people = [known, {**known, "id": "", "speaker": ""}]
        return {"speaking": "", "notes": [], "faces": [], "opted_out": 1, "people": people}

    def _time(self, row: Row) -> str:
        return ""

    def act(self, action: Action) -> tuple[bool, str]:
        self.actions.append(action)
        return False, f"done: {action.name}"


@needs_chromium
def test_buttons_act_on_the_person_they_belong_to(tmp_path: Path) -> None:
    page, browser = PeoplePage(), open_chromium(tmp_path / "profile")
    try:
        browser.get(page.url)
        wait = WebDriverWait(browser, PATIENCE)
        wait.until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "#persons li")) == 2)
        assert len(browser.find_elements(By.CSS_SELECTOR, "#persons button")) == 3

        def press(place: str, name: str) -> None:
            buttons = browser.find_elements(By.CSS_SELECTOR, f"{place} button")
            next(button for button in buttons if button.text == name).click()
            wait.until(lambda b: b.find_element(By.ID, "reply").text.endswith(f" {name}"))

        press("#persons", "opt-out")
        browser.find_element(By.ID, "id").send_keys("Ada")
        press("#persons", "enrol")
        press("#actions", "opt-in")
        errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    finally:
        page.close()
        browser.quit()
    anna, enrolled, back = page.actions
    assert (anna, back) == (Action("opt-out", "<b>anna</b>"), Action("opt-in", "Ada"))
    assert enrolled == Action("enrol", "Ada", "c1/0")
    assert errors == []
