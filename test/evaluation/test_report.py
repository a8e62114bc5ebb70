from __future__ import annotations

import base64
import io
import re
import wave
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import evaluated_talks as talks
import made_up_recordings as made_up
import numpy as np
import pytest
import yaml

pytest.importorskip("jinja2")
pytest.importorskip("av")

from erc_ros.adapters import BOOL
from erc_ros.annotations.records import Annotations, Segment
from erc_ros.evaluation import media
from erc_ros.evaluation.kept import from_bytes, to_bytes
from erc_ros.evaluation.media import FACE_SIDE, opus, thumbnail
from erc_ros.evaluation.pictures import score_pictures, timeline, write_figures
from erc_ros.evaluation.records import Recording, Scores
from erc_ros.evaluation.report import write_report
from erc_ros.evaluation.scores import measures
from erc_ros.evaluation.tally import conversations
from erc_ros.metrics.figure import Figure
from erc_ros.replay.bag import BagRecord
from erc_ros.replay.part import PartOfRecording, TimeRange
from erc_ros.values.nanoseconds import NS, seconds

NASTY = "</script><script>document.title='broken in'</script>\x00\ud800 $x_1$ & \"'"


def written(folder: Path, *recordings: Recording, **options: bool) -> str:
    scores = made_up.scores(*(r for r in recordings if not r.error))
    return write_report(recordings, scores, folder, **options).read_text(encoding="utf-8")


def media_in(page: str) -> list[str]:
    return re.findall(r'<script type="text/plain" id="m-([^"]+)">', page)


def decoded(data: bytes) -> np.ndarray:
    """Samples at 48 kHz of a file of Opus."""
    import av

    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames, dtype=float)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    pages = [written(tmp_path / n, made_up.recording(12)) for n in ("a", "b")]
    assert pages[0] == pages[1]


def test_text_is_kept_out_of_every_byte(tmp_path: Path) -> None:
    page = written(tmp_path, made_up.recording(6), with_text=False)
    assert made_up.WORD not in page and "landlord" not in page
    assert made_up.WORD in written(tmp_path, made_up.recording(6))
    assert media_in(page)  # sound stays


def test_sound_and_faces_are_kept_out_of_every_byte(tmp_path: Path) -> None:
    page = written(tmp_path, made_up.recording(6), with_media=False)
    opus_begins = base64.b64encode(b"OggS\x00\x02").decode()[:7]
    jpeg_begins = base64.b64encode(b"\xff\xd8\xff\xe0").decode()[:5]
    assert not media_in(page)
    assert opus_begins not in page and jpeg_begins not in page
    heard = written(tmp_path, made_up.recording(6))
    assert opus_begins in heard and jpeg_begins in heard


def test_the_page_asks_nothing_of_a_network(tmp_path: Path) -> None:
    page = written(tmp_path, made_up.recording(6))
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "default-src 'none'" in page


def test_what_comes_from_outside_never_becomes_markup(tmp_path: Path) -> None:
    recorded = made_up.recording(3, name=NASTY, system=NASTY)
    assert recorded.truth is not None
    segments = [replace(s, speaker=NASTY, text=NASTY) for s in recorded.truth.segments]
    answers = tuple(
        replace(a, speaker=NASTY, text=NASTY, utterance_id=NASTY) for a in recorded.predictions
    )
    truth = Annotations(tuple(segments), {NASTY: 1}, {NASTY: 1})
    recorded = replace(recorded, truth=truth, predictions=answers, warnings={NASTY: 1})
    page = written(tmp_path, recorded)
    assert "<script>document.title" not in page and "broken in'</script" not in page
    assert "\x00" not in page
    broken = replace(recorded, error=NASTY, name="other")
    assert "<script>document.title" not in written(tmp_path, recorded, broken)


def test_a_recording_that_failed_is_shown_with_its_reason(tmp_path: Path) -> None:
    broken = Recording("attic", "edge-small", 0, 0, (), error="nothing was recorded")
    page = written(tmp_path, made_up.recording(3), broken)
    assert page.count("nothing was recorded") >= 1 and "attic" in page
    without = written(tmp_path, made_up.recording(3))
    assert page.count("<tr data-row=") == without.count("<tr data-row=")  # it has no rows
    assert "attic" not in without
    alone = write_report([broken], Scores(()), tmp_path / "alone").read_text(encoding="utf-8")
    assert "nothing was recorded" in alone


def test_without_truth_nothing_is_called_right_or_missed(tmp_path: Path) -> None:
    recorded = made_up.without_truth(made_up.recording(3))
    page = write_report([recorded], Scores(()), tmp_path).read_text(encoding="utf-8")
    assert "missed" not in re.sub(r"<(style|script)[^>]*>.*?</\1>", "", page, flags=re.S)
    assert page.count("<tr data-row=") == len(recorded.predictions)


def test_every_segment_and_every_answer_has_a_row_and_a_bar(tmp_path: Path) -> None:
    recorded = made_up.recording(20)
    assert recorded.truth is not None
    page = written(tmp_path, recorded)
    invented = sum(match.truth is None for match in recorded.matches)
    assert page.count("<tr data-row=") == len(recorded.truth.segments) + invented
    bars = len(recorded.truth.segments) + len(recorded.predictions)
    assert page.count('class="b ') + page.count('class="b"') == bars


def test_lane_and_table_call_an_annotation_the_same(tmp_path: Path) -> None:
    page = written(tmp_path, made_up.recording(6))
    assert '<div class="heading"><span>annotation</span></div>' in page
    assert '<th scope="col">annotation</th>' in page and "truth:" not in page


def test_two_systems_stand_in_one_row(tmp_path: Path) -> None:
    one = made_up.recording(12)
    other = made_up.recording(12, system="other", seed=3)
    page = written(tmp_path, one, other)
    assert page.count('<section class="recording"') == 1
    assert "systems differ" in page and "+0.031" in page
    # The invented utterance has the same span and ids: one row.
    assert page.count("<tr data-row=") == 13


def test_systems_of_other_labels_stand_side_by_side(tmp_path: Path) -> None:
    one = made_up.recording(5)
    names = ("calm", "glad")
    answers = tuple(
        replace(a, label="glad", probabilities=np.array([0.3, 0.7])) for a in one.predictions
    )
    other = replace(one, system="two-labels", labels=names, predictions=answers)
    page = write_report([one, other], made_up.scores(one), tmp_path).read_text(encoding="utf-8")
    assert "glad" in page and "disgust" in page
    assert '"labels": [["neutral"' in page and '["calm", "glad"]' in page


def test_the_report_says_what_was_resampled(tmp_path: Path) -> None:
    recorded = made_up.recording(3)
    scores = made_up.scores(recorded)
    figure = Figure(0.5, 0.4, 0.6, 20, "blocks of 30 s")
    system = replace(scores.systems[0], figures={"accuracy": figure})
    page = write_report([recorded], replace(scores, systems=(system,)), tmp_path).read_text()
    assert "95 % over blocks of 30 s" in page and "0.400 to 0.600" in page


def test_what_was_missing_is_told(tmp_path: Path) -> None:
    page = written(tmp_path, made_up.recording(6))
    assert re.search(r"annotations past the end, cut: <b>1</b>", page)
    assert re.search(r"uses /a, not /b[^<]*: <b>1</b>", page)
    assert re.search(r"utterances without a face: <b>3</b>", page)


def test_much_sound_lies_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(tmp_path, made_up.recording(6))
    monkeypatch.setattr(media, "INLINE", 1000)
    page = written(tmp_path, made_up.recording(6))
    files = {file.name for file in (tmp_path / "report_media").iterdir()}
    assert not media_in(page) and files == set(media_in(before))
    assert all(name in page for name in files)
    written(tmp_path, made_up.recording(3))  # a smaller report takes its files' place
    assert len(list((tmp_path / "report_media").iterdir())) < len(files)


def test_an_earlier_report_survives_a_disk_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(tmp_path, made_up.recording(3))

    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        written(tmp_path, made_up.recording(6))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_missed_segment_is_heard_from_the_recordings_sound(tmp_path: Path) -> None:
    recorded = made_up.recording(6, with_media=False)
    sound = made_up.tone(300, recorded.duration / NS)
    with wave.open(str(tmp_path / "kitchen.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(sound.astype("<i2").tobytes())
    page = write_report(
        [recorded],
        made_up.scores(recorded),
        tmp_path,
        sounds={"kitchen": tmp_path / "kitchen.wav"},
    ).read_text(encoding="utf-8")
    assert not re.findall(r'"sound": null', page)
    clips = re.findall(r'<script type="text/plain" id="m-[^"]+">\s*([^<]+)<', page)
    heard = [decoded(base64.b64decode(clip.strip())) for clip in clips]
    assert len(heard) == len(media_in(page)) > 0
    for clip in heard:
        middle = clip[len(clip) // 4 : len(clip) // 4 + 24_000]
        assert np.abs(np.fft.rfft(middle)).argmax() * 48_000 / len(middle) == pytest.approx(
            300, abs=48_000 / len(middle) + 1
        )


def test_sound_of_another_format_is_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
    recorded = made_up.recording(3)
    with pytest.raises(ValueError, match=r"a\.wav.*2.*16.*44100.*mono"):
        write_report([recorded], Scores(()), tmp_path, sounds={"kitchen": tmp_path / "a.wav"})


def test_emotions_have_letters_of_their_own(tmp_path: Path) -> None:
    labels = ("sad", "sadness", "sa", "surprise", "surprised")
    recorded = Recording("x", "s", 0, 5 * NS, labels)
    page = write_report([recorded], Scores(()), tmp_path).read_text(encoding="utf-8")
    letters = re.findall(r'<i class="k e\d+">([^<]*)</i>', page)
    assert len(letters) == len(set(letters)) == len(labels)


def test_nothing_was_heard_and_nobody_annotated(tmp_path: Path) -> None:
    recorded = Recording("x", "s", 0, 5 * NS, ("joy",))
    page = write_report([recorded], Scores(()), tmp_path).read_text(encoding="utf-8")
    assert "No utterances" in page


def test_a_segment_without_an_emotion_is_no_error_of_the_answer(tmp_path: Path) -> None:
    recorded = made_up.recording(3)
    truth = Annotations((Segment(0, NS, "anna"),))
    page = written(tmp_path, recorded)
    assert "no emotion annotated" not in page
    matches = (replace(recorded.matches[0], truth=0, prediction=0),)
    recorded = replace(recorded, truth=truth, predictions=recorded.predictions[:1], matches=matches)
    page = write_report([recorded], Scores(()), tmp_path).read_text(encoding="utf-8")
    assert "no emotion annotated" in page


def test_opus_keeps_the_tone_and_its_length() -> None:
    samples = decoded(opus(made_up.tone(440, 1.0)))
    assert abs(len(samples) - 48_000) < 1_000  # Opus always decodes to 48 kHz
    spectrum = np.abs(np.fft.rfft(samples[10_000:34_000]))
    assert spectrum.argmax() == pytest.approx(440 * 24_000 / 48_000, abs=1)


def test_faces_become_small_and_what_is_no_picture_is_left_out() -> None:
    import cv2

    large = cv2.imencode(".png", np.full((600, 300, 3), 90, np.uint8))[1].tobytes()
    small = thumbnail(large)
    assert small is not None
    image = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and max(image.shape[:2]) == FACE_SIDE
    assert thumbnail(b"no picture") is None


def talk(*predictions: tuple[float, float]) -> Recording:
    """Anna from 0 to 10 s and from 20 to 24 s, Ben from 24 to 28 s."""
    segments = [talks.segment(*times, "Anna", "joy") for times in ((0, 10), (20, 24))]
    segments.append(talks.segment(24, 28, "Ben", "anger"))
    answers = [talks.prediction(*times, "0", "joy") for times in predictions]
    return talks.recording(segments, answers)


def test_segments_and_utterances_without_a_partner_are_named_as_in_the_scores(
    tmp_path: Path,
) -> None:
    recorded = talk((0, 6), (7, 10), (20, 27.5), (40, 44))
    page = write_report([recorded], Scores(()), tmp_path).read_text(encoding="utf-8")
    statuses = re.findall(r'class="status" data-label="result">([^<]*)<', page)
    assert statuses == ["right", "split", "right", "merged", "invented"]
    (scored,) = conversations(recorded)
    # segments, utterances, matched, missed, merged, split, invented
    assert scored.sums["matching"].tolist() == [3, 4, 2, 0, 1, 1, 1]


def test_an_estimated_speaker_is_named_with_the_person_who_shares_most_time(
    tmp_path: Path,
) -> None:
    recorded = talk((0, 10), (20, 24))
    page = write_report([recorded], Scores(()), tmp_path).read_text(encoding="utf-8")
    assert '<span class="who">speaker 1 = Anna</span>' in page


def test_the_waveform_is_that_of_the_audio(tmp_path: Path) -> None:
    recorded = made_up.recording(3)
    page = written(tmp_path, recorded)
    (path,) = re.findall(r'<path d="M0,50 L([^Z]*)Z"', page)
    heights = [50 - int(point.split(",")[1]) for point in path.split()]
    half = len(heights) // 2
    assert max(heights) == 49 and heights[0] == 0  # loud while they speak, silent before
    loud = np.flatnonzero(heights[:half]) / half * recorded.duration / NS
    begin = min(p.start for p in recorded.predictions if p.audio is not None) / NS
    assert loud[0] == pytest.approx(begin, abs=0.2)
    assert "<path" not in written(tmp_path, recorded, with_media=False)


def test_the_speech_of_the_robot_has_a_lane(tmp_path: Path) -> None:
    talk = replace(made_up.recording(3), robot=((seconds(1), seconds(2)),))
    assert from_bytes(to_bytes(talk)).robot == talk.robot
    page = written(tmp_path / "robot", talk)
    (lane,) = re.findall(r'<div class="lane robot".*?</div>', page)
    (place,) = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", lane)
    length = talk.duration / NS
    assert [float(each) for each in place] == pytest.approx([100 / length] * 2, abs=0.01)
    assert 'class="lane robot"' not in written(tmp_path / "without", made_up.recording(3))


def test_the_robot_speaks_from_its_first_announcement_until_it_takes_it_back() -> None:
    announced = [(0, False), (1, True), (2, True), (3, False), (4, False), (6, True)]

    class Announcements:
        path, topics, warnings, span = Path("talk"), (), Counter[str](), (0, 0)

        def messages(self, topics: object) -> Iterator[BagRecord]:
            allowed = SimpleNamespace(data=True)
            yield BagRecord(seconds(10), "/recording_allowed", BOOL, allowed)
            for time, speaks in announced:
                message = SimpleNamespace(data=speaks)
                yield BagRecord(seconds(10 + time), "/robot_speaking", BOOL, message)
            yield BagRecord(seconds(18), "/recording_allowed", BOOL, allowed)

    opened = PartOfRecording(cast("Any", Announcements()), TimeRange())
    list(opened.messages([]))
    assert opened.robot() == ((seconds(1), seconds(3)), (seconds(6), seconds(8)))


def test_every_figure_is_defined_in_the_report_and_in_the_documentation(tmp_path: Path) -> None:
    page = written(tmp_path, made_up.recording(3))
    assert "emotion error by time (TEER)" in page and "by annotated time" in page
    folder = Path(media.__file__).parent / "templates"
    words = yaml.safe_load((folder / "figures.yaml").read_text(encoding="utf-8"))
    own = {measure.name.partition(" ")[0] for measure in measures(("joy", "anger"))} - {"f1"}
    assert own <= {name.partition(" ")[0] for name in words}
    assert all(len(each) == 4 and each[3] in ("higher", "lower", "") for each in words.values())
    document = Path(__file__).parents[2] / "docs" / "reference" / "scores.md"
    if document.is_file():
        text = document.read_text(encoding="utf-8")
        assert [name for name in words if f"`{name}`" not in text] == []


def test_figures_are_written_as_svg_pdf_and_data(tmp_path: Path) -> None:
    recorded = made_up.recording(12)
    pictures = [*score_pictures(made_up.scores(recorded).systems), timeline(recorded)]
    first = [file.read_bytes() for file in write_figures(pictures, tmp_path / "a")]
    files = write_figures(pictures, tmp_path / "b")
    assert [file.read_bytes() for file in files] == first
    names = {file.name for file in files}
    for name in ("confusion-edge-small", "risk-against-coverage", "timeline"):
        assert {f"{name}.svg", f"{name}.pdf", f"{name}.csv"} <= names
    assert (tmp_path / "a" / "timeline.pdf").read_bytes().startswith(b"%PDF")
    rows = (tmp_path / "a" / "timeline.csv").read_text(encoding="utf-8").splitlines()
    assert recorded.truth is not None
    assert len(rows) == 1 + len(recorded.truth.segments) + len(recorded.predictions)
