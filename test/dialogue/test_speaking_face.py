"""Choice of the speaking face: by ROS4HRI, by mouth motion, as the only face, or none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from erc_ros.dialogue.face_history import FaceHistory
from erc_ros.dialogue.speaking_face import (
    Glimpse,
    IdentityMatch,
    SpeakingFaceConfig,
    Spoken,
    clearly_most,
    face_shape,
    link,
    mouth_motion,
    partners,
    share,
    speech_motion,
    thumbnail,
    with_speaking,
)
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import FaceCrop

ASTRONAUT = Path(__file__).parents[1] / "assets" / "astronaut.png"
T0 = 1_700_000_000 * NS
START, END = T0 + seconds(3), T0 + seconds(6)  # of the utterance


def face(
    opening: float = 0.0, shift: tuple[int, int] = (0, 0), scale: float = 1.0
) -> NDArray[np.uint8]:
    """Return the face of the astronaut, 96x96, with an opened mouth, moved and scaled."""
    image = cv2.imread(str(ASTRONAUT))
    assert image is not None
    cut = cv2.resize(image[54:174, 44:164], (240, 240))
    if opening:
        cv2.ellipse(cut, (120, 184), (36, max(1, round(opening * 60))), 0, 0, 360, (30, 20, 60), -1)
    place = np.array([[0.4 * scale, 0, shift[0]], [0, 0.4 * scale, shift[1]]], np.float32)
    moved = cv2.warpAffine(cut, place, (96, 96), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def noisy(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    noise = random.normal(0, 3, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


VOICE = [(T0 + n * NS // 20, 0.9 if 60 <= n < 120 else 0.05) for n in range(160)]


def look_at(faces: FaceHistory, name: str, speaks: bool, seed: int, rate: int = 5) -> None:
    """Add eight seconds of a face with jitter; a speaking one moves its mouth from 3 s to 6 s."""
    random = np.random.default_rng(seed)
    for n in range(8 * rate):
        now = n / rate
        opening = random.uniform(0, 0.35) if speaks and 3 <= now < 6 else 0.0
        shift = int(random.integers(-2, 3)), int(random.integers(-2, 3))
        pixels = noisy(face(opening, shift, random.uniform(0.97, 1.03)), random)
        faces.add(name, FaceCrop(T0 + n * NS // rate, pixels))


@pytest.mark.parametrize("seed", range(6))
def test_of_two_faces_the_one_whose_mouth_moves_speaks(seed: int) -> None:
    faces = FaceHistory()
    look_at(faces, "silent", False, seed)
    look_at(faces, "speaker", True, seed + 100)
    seen = faces.choose(START, END, 8, VOICE)
    assert (seen.face_id, seen.evidence) == ("speaker", "motion")


@pytest.mark.parametrize("seed", range(6))
def test_of_two_silent_faces_none_is_chosen(seed: int) -> None:
    faces = FaceHistory()
    look_at(faces, "one", False, seed)
    look_at(faces, "other", False, seed + 100)
    seen = faces.choose(START, END, 8, VOICE)
    assert (seen.face_id, seen.crops, seen.evidence) == ("", (), "unclear")


def test_the_margin_finds_the_speaker_and_seldom_takes_a_silent_face() -> None:
    def motions(speaks: bool, seeds: range) -> list[float | None]:
        scores = []
        for seed in seeds:
            faces = FaceHistory()
            look_at(faces, "x", speaks, seed)
            scores.append(faces._motion("x", VOICE, START, END))
        return scores

    speaking, silent = motions(True, range(30)), motions(False, range(100, 130))
    pairs = [clearly_most({"s": one, "x": other}) for one in speaking for other in silent]
    assert pairs.count("s") / len(pairs) >= 0.95 and pairs.count("x") == 0
    both = [clearly_most({"a": a, "b": b}) for n, a in enumerate(silent) for b in silent[:n]]
    assert sum(map(bool, both)) / len(both) <= 0.02
    print(
        f"found {pairs.count('s') / len(pairs):.3f}, silent {sum(map(bool, both)) / len(both):.3f}"
    )


def test_no_face_is_chosen_while_the_motion_of_another_is_unknown() -> None:
    assert clearly_most({"a": 2.0, "b": 0.0}) == "a"
    assert clearly_most({"a": 2.0, "b": 0.0, "c": None}) == ""  # c may be the one who speaks
    assert clearly_most({"a": 2.0, "c": None}) == clearly_most({"a": 2.0}) == ""


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_a_mouth_that_moved_in_speech_before_the_utterance_does_not_count(
    before: float, during: float, resting: float
) -> None:
    voice = [(T0 + n * NS // 20, 0.05 if n < 40 else 0.9) for n in range(160)]  # speech from 2 s
    start = T0 + seconds(5)
    glimpses = [
        Glimpse(T0 + n * NS // 5, T0 + (n + 1) * NS // 5, motion)
        for n, motion in enumerate([resting] * 10 + [before] * 15 + [during] * 10)
    ]
    found = speech_motion(glimpses, voice, start)
    assert found == pytest.approx(during - resting, abs=1e-6)
    assert speech_motion(glimpses[:25], voice, start) is None  # no image of the utterance


def landmarks(opening: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Return a face of 70 points, 100 pixels between the eyes, with rotation, scale and jitter."""
    points = random.uniform(-60, 60, (70, 2))
    points[[36, 39, 42, 45]] = [(-50, 0), (-20, 0), (20, 0), (50, 0)]
    points[[27, 30]] = [(0, 0), (0, 40)]
    points[[61, 62, 63]] = [(-12, 70), (0, 70), (12, 70)]
    points[[67, 66, 65]] = [(-12, 70 + opening), (0, 70 + opening), (12, 70 + opening)]
    turn = random.uniform(-0.2, 0.2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = points @ rotation.T * random.uniform(0.8, 1.25) + random.uniform(0, 300, 2)
    return np.asarray(moved + random.normal(0, 0.5, (70, 2)), np.float32)


def tell(faces: FaceHistory, name: str, speaks: bool, seed: int) -> None:
    """Add eight seconds of landmarks at 5 Hz, with a mouth that moves from 3 s to 6 s, or rests."""
    random = np.random.default_rng(seed)
    for n in range(40):
        opening = random.uniform(0, 25) if speaks and 15 <= n < 30 else 2.0
        faces.add_landmarks(name, T0 + n * NS // 5, landmarks(opening, random))


@pytest.mark.parametrize("seed", range(6))
def test_landmarks_show_which_mouth_moves_if_images_do_not(seed: int) -> None:
    faces = FaceHistory()
    for name in ("silent", "speaker"):  # images in which no mouth moves
        look_at(faces, name, False, seed + len(name))
    assert faces.choose(START, END, 8, VOICE).evidence == "unclear"
    tell(faces, "silent", False, seed)
    tell(faces, "speaker", True, seed + 100)
    seen = faces.choose(START, END, 8, VOICE)
    assert (seen.face_id, seen.evidence) == ("speaker", "motion") and len(seen.crops) == 8


def test_landmarks_of_silent_faces_choose_seldom_one() -> None:
    motions = []
    for seed in range(40):
        faces = FaceHistory()
        tell(faces, "x", False, seed)
        motions.append(faces._motion("x", VOICE, START, END))
    pairs = [clearly_most({"a": a, "b": b}) for n, a in enumerate(motions) for b in motions[:n]]
    print(f"silent {sum(map(bool, pairs)) / len(pairs):.3f}")
    assert sum(map(bool, pairs)) / len(pairs) <= 0.25


@pytest.mark.parametrize("eye", [0.0, 0.9, 1.0, np.inf, np.nan])
def test_a_face_has_a_shape_where_its_eyes_are_apart(eye: float) -> None:
    points = landmarks(2.0, np.random.default_rng(0))
    points[36], points[45] = (0, 0), (eye, 0)
    assert (face_shape(7, points) is not None) == (eye == 1.0)


def test_landmarks_that_are_no_face_say_nothing_and_are_bounded() -> None:
    faces = FaceHistory()
    for n in range(2000):
        faces.add_landmarks(f"f{n}", T0 + n, np.zeros((70, 2), np.float32))
        faces.add_landmarks("odd", T0 + n, np.full((70, 2), 1e38 * (n % 2), np.float32))
    assert not faces._told and not faces._shapes
    for n in range(2000):
        tell_one = landmarks(2.0, np.random.default_rng(n))
        faces.add_landmarks(f"f{n % 100}", T0 + n * NS // 100, tell_one)
    assert len(faces._shapes) <= 32 and len(faces._told) <= 300


def test_a_mouth_that_always_moves_is_no_speech() -> None:
    moving = [Glimpse(T0 + n * NS // 5, T0 + (n + 1) * NS // 5, 1.0) for n in range(40)]
    motion = speech_motion(moving, VOICE, START)
    assert motion == pytest.approx(0.0)


def test_a_head_that_moves_is_no_mouth_that_moves() -> None:
    still = thumbnail(face())
    moved = mouth_motion(still, thumbnail(face(shift=(3, 2))))
    spoken = mouth_motion(still, thumbnail(face(opening=0.3)))
    assert spoken > moved + 0.5


def test_flat_and_odd_images_have_no_motion() -> None:
    flat = thumbnail(np.zeros((96, 96, 3), np.uint8))
    assert not flat.any() and mouth_motion(flat, flat) == pytest.approx(0.0)
    assert np.isfinite(mouth_motion(flat, thumbnail(face())))
    assert thumbnail(np.zeros((5, 5, 3), np.uint8)).shape == flat.shape


def test_the_only_face_is_the_speakers_and_a_brief_false_detection_changes_nothing() -> None:
    faces = FaceHistory()
    look_at(faces, "anna", False, 1)
    faces.add("ghost", FaceCrop(T0 + seconds(4), face()))
    assert faces.choose(START, END, 8, VOICE).evidence == "only"
    assert faces.choose(START, END, 8, VOICE).face_id == "anna"
    assert faces.choose(T0 + seconds(20), T0 + seconds(21), 8).evidence == ""


def test_what_ros4hri_says_about_speaking_comes_before_the_mouth() -> None:
    faces = FaceHistory()
    look_at(faces, "moves", True, 1)
    look_at(faces, "told", False, 2)
    faces.set_speaking("told", T0 + seconds(3.5), True)
    faces.set_speaking("told", T0 + seconds(5.5), False)
    seen = faces.choose(START, END, 8, VOICE)
    assert (seen.face_id, seen.evidence) == ("told", "is_speaking")
    # before that it was silent, so it is the other one
    assert faces.choose(T0, T0 + seconds(3), 8, VOICE).face_id == "moves"


def test_among_a_hundred_faces_the_speaker_and_its_crops_are_kept() -> None:
    faces = FaceHistory(SpeakingFaceConfig(max_kept=50))
    look_at(faces, "speaks", False, 1)
    faces.set_speaking("speaks", START, True)
    crops = len(faces.choose(START, END, 100, VOICE).crops)
    assert crops > 0
    for stamp in (T0 + seconds(3.5), T0 + seconds(4.5)):
        for number in range(100):
            face = "speaks" if number == 50 else f"silent {number}"
            faces.set_speaking(face, stamp, number == 50)
            faces.add(face, FaceCrop(stamp, np.zeros((48, 48, 3), np.uint8)))
    chosen = faces.choose(START, END, 100, VOICE)
    assert (chosen.face_id, chosen.evidence) == ("speaks", "is_speaking")
    assert len(chosen.crops) >= crops


def test_a_match_with_the_voice_comes_first_and_names_the_person() -> None:
    faces = FaceHistory()
    look_at(faces, "f1", False, 1)
    look_at(faces, "f2", True, 2)
    faces.match(IdentityMatch(("person", "p"), ("voice", "v"), 0.9))
    faces.match(IdentityMatch(("face", "f1"), ("person", "p"), 0.8))
    seen = faces.choose(START, END, 8, VOICE, voice_id="v")
    assert (seen.face_id, seen.person_id, seen.evidence) == ("f1", "p", "match")
    assert len(seen.crops) == 8
    assert faces.choose(START, END, 8, VOICE, person_id="p").face_id == "f1"
    faces.match(IdentityMatch(("person", "p"), ("face", "f1"), 0.0))  # taken back
    assert faces.choose(START, END, 8, VOICE, voice_id="v").face_id == "f2"


def test_the_likelier_match_wins_and_ids_of_other_kinds_do_not_mix() -> None:
    matches: tuple[IdentityMatch, ...] = ()
    for face_id, confidence in (("a", 0.3), ("b", 0.9), ("a", 0.4)):
        matches = link(matches, IdentityMatch(("voice", "v"), ("face", face_id), confidence))
    assert partners(matches, ("voice", "v"), "face") == {"a": 0.4, "b": 0.9}
    assert partners(matches, ("voice", "v"), "person") == {}
    assert partners(matches, ("person", "v"), "face") == {}


def test_the_sharpest_crop_of_each_part_of_the_time_is_taken() -> None:
    faces, sharp = FaceHistory(), {3, 8, 13, 18}
    for n in range(20):
        pixels = face() if n in sharp else cv2.GaussianBlur(face(), (9, 9), 3)
        faces.add("anna", FaceCrop(T0 + n * NS // 5, np.asarray(pixels, np.uint8)))
    seen = faces.choose(T0, T0 + seconds(4), 4)
    assert [(crop.stamp - T0) * 5 // NS for crop in seen.crops] == sorted(sharp)
    assert len(faces.choose(T0, T0 + seconds(4), 64).crops) == 20
    assert faces.choose(T0, T0 + seconds(4), 0).crops == ()


def test_who_is_not_clearly_ahead_is_not_chosen() -> None:
    assert clearly_most({"a": 1.0, "b": 0.9}) == ""
    assert clearly_most({"a": 1.0, "b": 0.2}) == "a"
    assert clearly_most({"a": 1.0, "b": None}) == ""  # too few images of it
    assert clearly_most({"a": 1.0}) == clearly_most({}) == ""


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=40))
def test_the_share_of_speaking_is_a_share(told: list[tuple[int, bool]]) -> None:
    spoken = Spoken()
    for stamp, speaking in sorted(told):
        spoken = with_speaking(spoken, stamp, speaking)
    assert 0.0 <= share(spoken, 10, 90) <= 1.0
    assert len(spoken.spans) <= 32
