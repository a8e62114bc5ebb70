"""The report in a real browser: Debian's Chromium without a window (`make browser` installs it)."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_up_recordings as made_up
import numpy as np
import pytest
from chromium import needs_chromium, open_chromium

pytest.importorskip("jinja2")
pytest.importorskip("av")
pytest.importorskip("selenium", reason="selenium is missing: pip install selenium")

import av
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from erc_ros.evaluation.records import Recording
from erc_ros.evaluation.report import write_report
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import SAMPLE_RATE

pytestmark = needs_chromium
PATIENCE = 60  # s; a machine may be busy


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = open_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(tmp_path_factory.mktemp("single"), made_up.recording(1))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(tmp_path_factory.mktemp("small"), made_up.recording(3))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(tmp_path_factory.mktemp("large"), made_up.recording(3000, length=0.5))


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: webdriver.Chrome) -> Iterator[Page]:
    opened = Page(browser, request.getfixturevalue(getattr(request, "param", "small")))
    yield opened
    assert opened.complaints() == []


def report(folder: Path, *recordings: Recording) -> Path:
    return write_report(recordings, made_up.scores(*recordings), folder)


class Page:
    """A report that is open."""

    def __init__(self, driver: webdriver.Chrome, file: Path) -> None:
        self.driver = driver
        driver.get(file.as_uri())
        self.until(lambda: self.script("return document.documentElement.dataset.ready") == "yes")

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def until(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda _: condition())

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        element = self.find(selector)
        self.script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def shown(self) -> list[Any]:
        return [
            r for r in self.driver.find_elements(By.CSS_SELECTOR, "tr.fits") if r.is_displayed()
        ]

    def plays(self) -> None:
        """Wait until the sound has really moved on."""
        player = "const p = document.getElementById('player'); "
        self.until(lambda: self.script(player + "return p.currentTime > 0.05 && p.error === null"))

    def complaints(self) -> list[Any]:
        return list(self.driver.get_log("browser"))


def test_a_click_on_an_utterance_plays_it_and_shows_why(page: Page) -> None:
    page.click(".lane .b[data-row='0']")
    page.plays()
    detail = page.find("#detail")
    assert detail.is_displayed()
    assert made_up.WORD in detail.text and "anna" in detail.text and "speaker 1" in detail.text
    face = page.find("#detail img")
    page.until(lambda: page.script("return arguments[0].naturalWidth", face) > 0)
    widths = page.script(
        "return Array.from(document.querySelectorAll('.bars')[0].querySelectorAll('.fillbar'))"
        ".map((bar) => parseFloat(bar.style.width))"
    )
    assert sum(widths) == pytest.approx(100, abs=0.1)
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".bars:last-of-type .track")) >= 3


def test_what_each_modality_indicates_is_seen_at_a_glance(page: Page) -> None:
    page.click(".lane .b[data-row='0']")
    blocks = page.driver.find_elements(By.CSS_SELECTOR, "#detail .reason")
    assert [block.get_attribute("data-modality") for block in blocks] == ["words", "voice", "face"]
    tops = {block.location["y"] for block in blocks}
    assert len(tops) == 1  # side by side
    words, voice, face = blocks
    assert "62 %" in face.text and "reliable" in face.text  # its reliability
    assert "reliable" not in words.text  # the reference
    assert "distrusted" in voice.get_attribute("class") and "not trusted" in voice.text
    assert "sadness" in voice.text and "80 %" in voice.text
    sentences = [p.text for p in page.driver.find_elements(By.CSS_SELECTOR, "#detail .why-line")]
    assert sentences[0] == "Without the words: fear 0.50"
    detail, first = page.find("#detail"), page.find("#detail .why-line")
    assert first.location["y"] < detail.location["y"] + detail.size["height"]  # no scrolling
    row = page.find("tr[data-row='0']")
    assert "voice (not trusted)" in row.text


def test_keys_alone_walk_through_the_timeline_and_play(page: Page) -> None:
    page.script("document.querySelector('.lane .b').focus()")
    page.press(Keys.ARROW_DOWN)
    focus = "return document.activeElement.getAttribute('aria-label')"
    second_lane = page.script(focus)
    page.press(Keys.ARROW_UP, Keys.ENTER)
    assert page.script(focus) != second_lane
    page.plays()
    page.press(Keys.ESCAPE)
    assert not page.find("#detail").is_displayed()
    assert page.script("return document.getElementById('player').paused")


def test_tab_reaches_the_timeline_once(page: Page) -> None:
    page.script("document.querySelector('[data-zoom=fit]').focus()")
    page.press(Keys.TAB)
    assert page.script("return document.activeElement.classList.contains('b')")
    page.press(Keys.TAB)
    assert not page.script("return document.activeElement.classList.contains('b')")


@pytest.mark.parametrize("page", ["small", "large"], indirect=True)
def test_the_filter_leaves_what_fits(page: Page) -> None:
    everything = page.script("return document.querySelectorAll('tbody tr[data-row]').length")
    page.find("[name=words]").send_keys("landlord")
    output = page.find(".filter output")
    page.until(lambda: not output.text.startswith(f"{everything} of"))
    shown = page.shown()
    assert shown and all("landlord" in row.text for row in shown)
    assert page.script("return document.querySelectorAll('.b.dim').length") > 0
    page.click(".filter button[type=reset]")
    page.until(lambda: output.text == f"{everything} of {everything}")
    page.script(
        "const s = document.querySelector('[name=status]'); s.value = 'invented';"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.until(lambda: output.text == f"1 of {everything}")
    page.click("tr.fits .play")
    page.plays()


def test_the_scale_changes_and_the_axis_follows(page: Page) -> None:
    width = "return document.querySelector('.strip').offsetWidth"
    page.click("[data-zoom=fit]")
    whole = page.script(width)
    page.click("[data-zoom=in]")
    assert page.script(width) > 1.3 * whole
    assert page.script("return document.querySelectorAll('.axis .track span').length") > 1


def test_next_and_previous_follow_the_table(page: Page) -> None:
    page.click(".play[data-row='0']")
    page.click("[data-step='1']")
    page.until(lambda: page.find("tr.chosen").get_attribute("data-row") == "1")
    page.click("[data-step='-1']")
    page.until(lambda: page.find("tr.chosen").get_attribute("data-row") == "0")


@pytest.mark.parametrize("page", ["single", "small"], indirect=True)
def test_a_short_recording_is_shown_as_a_whole(page: Page) -> None:
    strip, timeline = page.find(".strip"), page.find(".timeline")
    assert strip.size["width"] <= timeline.size["width"] + 1
    page.click(".lane .b[data-row='0']")
    page.plays()


def test_the_partner_of_an_utterance_is_marked(page: Page) -> None:
    bar = page.find(".lane .b[data-row='0']")
    webdriver.ActionChains(page.driver).move_to_element(bar).perform()
    page.until(lambda: page.driver.find_elements(By.CSS_SELECTOR, ".b.partner"))
    (partner,) = page.driver.find_elements(By.CSS_SELECTOR, ".b.partner")
    assert partner != bar and partner.get_attribute("data-row") == "0"


def test_audio_and_video_of_the_whole_recording_go_to_a_time_of_the_timeline(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    recorded = made_up.recording(3)
    length = recorded.duration / NS
    with wave.open(str(tmp_path / "kitchen.wav"), "wb") as stream:
        stream.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        stream.writeframes(made_up.tone(300, length).astype("<i2").tobytes())
    with av.open(str(tmp_path / "kitchen.mp4"), "w") as container:
        film: Any = container.add_stream("libx264", rate=10)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        for number in range(int(10 * length)):
            image = np.full((48, 64, 3), number % 250, np.uint8)
            container.mux(film.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(film.encode(None))
    sounds = {"kitchen": tmp_path / "kitchen.wav"}
    file = write_report([recorded], made_up.scores(recorded), tmp_path, sounds=sounds)
    page = Page(browser, file)
    times = (
        "return ['audio', 'video'].map((e) => document.querySelector('.player ' + e).currentTime)"
    )
    ready = "return document.querySelector('.player audio').readyState > 0"
    page.until(lambda: page.script(ready))
    track = page.find(".wave .track")
    webdriver.ActionChains(browser).move_to_element(track).click().perform()
    middle = pytest.approx(length / 2, abs=0.2)
    page.until(lambda: page.script(times) == [middle, middle])
    left = page.script("return parseFloat(document.querySelector('.cursor').style.left)")
    inside = left - track.location["x"] + page.find(".strip").location["x"]
    assert inside == pytest.approx(track.size["width"] / 2, abs=5)
    page.script("const a = document.querySelector('.player audio'); a.muted = true; a.play()")
    page.until(lambda: all(time > length / 2 + 0.3 for time in page.script(times)))
    assert page.complaints() == []


@pytest.mark.parametrize("page", ["small", "large"], indirect=True)
@pytest.mark.parametrize("width", [1280, 500])
def test_names_of_lanes_are_shown_whole(page: Page, width: int) -> None:
    page.driver.set_window_size(width, 900)
    names = page.script(
        "return Array.from(document.querySelectorAll('.who')).map((name) => [name.textContent, "
        "name.scrollWidth <= name.clientWidth && name.scrollHeight <= name.clientHeight])"
    )
    page.driver.set_window_size(1280, 900)
    assert ["speaker 1 = anna", True] in names and all(is_whole for _, is_whole in names)


def test_a_telephone_needs_no_sideways_scrolling(page: Page) -> None:
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.driver.refresh()
        page.until(lambda: page.script("return document.documentElement.dataset.ready") == "yes")
        assert page.script("return document.documentElement.scrollWidth") <= 390
        page.click(".play[data-row='0']")
        page.plays()
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_many_utterances_are_shown_page_by_page(browser: webdriver.Chrome, large: Path) -> None:
    page = Page(browser, large)
    shown = "return document.querySelectorAll('tbody tr[data-row]:not([hidden])').length"
    assert page.script(shown) == 200
    page.click(".more")
    assert page.script(shown) == 400
    page.script("document.querySelector('.b[data-row=\"2500\"]').click()")
    page.plays()
    assert page.complaints() == []


def test_sound_that_lies_beside_the_page_plays(
    browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("erc_ros.evaluation.media.INLINE", 0)
    page = Page(browser, report(tmp_path, made_up.recording(3)))
    page.click(".play[data-row='0']")
    page.plays()
    face = page.find("#detail img")
    page.until(lambda: page.script("return arguments[0].naturalWidth", face) > 0)
    assert page.complaints() == []


def test_recordings_are_chosen_by_name(browser: webdriver.Chrome, tmp_path: Path) -> None:
    kitchen, hall = made_up.recording(3), made_up.recording(4, name="hall")
    broken = Recording("attic", "edge-small", 0, 0, (), error="nothing was recorded")
    file = write_report([kitchen, hall, broken], made_up.scores(kitchen), tmp_path)
    page = Page(browser, file)
    chooser = page.find("#recording")
    for number, wanted in ((1, "hall"), (2, "nothing was recorded"), (0, "kitchen")):
        page.script("arguments[0].value = arguments[1]", chooser, str(number))
        page.script("arguments[0].dispatchEvent(new Event('change'))", chooser)
        shown = [
            s for s in browser.find_elements(By.CSS_SELECTOR, ".recording") if s.is_displayed()
        ]
        assert len(shown) == 1 and wanted in shown[0].text
    assert page.complaints() == []


def test_what_comes_from_outside_is_never_run(browser: webdriver.Chrome, tmp_path: Path) -> None:
    nasty = "</script><img src=x onerror=\"document.title='broken in'\"><script>1</script>"
    recorded = made_up.recording(3, name=nasty, system=nasty)
    page = Page(browser, report(tmp_path, recorded))
    page.click(".play[data-row='0']")
    assert page.find("#d-body h4 ~ p").text
    assert nasty in page.find("#d-body").text
    assert browser.title.startswith("Emotions in conversation")
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert page.complaints() == []
