"""Sessions of several files: cameras, and microphones of the room or of each person.

`NAME.session.yaml` lists them:

    transcript: words.srt                          # optional
    files:
      - {file: room.mp4, role: camera, offset: -0.4}
      - {file: ana.wav, role: microphone, person: Ana}
      - {file: ben.wav, role: microphone, person: Ben, offset: 0.25}

`offset` is the time of the session (s) at which the file begins. Clock drift is not corrected. The
pipeline receives one mixture of the microphones and one image with all cameras side by side. A text
is attributed to the person of the microphone that is loudest during it, and the utterance uses the
audio of this microphone.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from erc_ros.media.files import MAX_SIDE, ORIGIN, MediaError, MediaFile
from erc_ros.media.recognizers import RecognizedSpeech, SpeechRecognizer
from erc_ros.media.transcripts import Cue, check_fit, transcripts_of
from erc_ros.pipeline import VoiceSound
from erc_ros.replay.bag import VALUES, BagRecord, Topic
from erc_ros.sensing.audio import AudioFormat
from erc_ros.sensing.frame_throttle import FrameThrottle
from erc_ros.sensing.frames import Frame
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.bounds import ID, SESSION_BYTES, SESSION_FILES, shown
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Word
from erc_ros.values.utterance import SAMPLE_RATE

SUFFIX = ".session.yaml"
CAMERA, MICROPHONE = "camera", "microphone"
VOICE = "VoiceSound"  # type of a record with the audio of one person's microphone
AUDIO, IMAGE, SPEECH = "/audio", "/image", "/speech"
BLOCK = SAMPLE_RATE // 10  # samples of which levels are computed and mixed
MARGIN = 1.5  # dB by which a microphone must be louder than all others to attribute a text
_BLOCK_TIME = BLOCK * NS // SAMPLE_RATE
_FORMAT = AudioFormat(SAMPLE_RATE, 1, "S16LE")
_SILENT = 1e-10  # power
_FLOOR = -75.0, -30.0  # dB; a noise floor outside is due to a noise gate or constant speech
_MAX_OFFSET = 86_400.0  # s
_MIN_WORDS = 2  # of a person, to divide a text


@dataclass(frozen=True, slots=True)
class SessionFile:
    """One file of a session. offset: its start in the session (ns). person: "": unknown."""

    path: Path
    role: str
    person: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """The content of a session file. transcript: None if it names none."""

    files: tuple[SessionFile, ...]
    transcript: Path | None = None


def is_session(path: Path) -> bool:
    """Return whether a path has the suffix of a session file."""
    return path.name.casefold().endswith(SUFFIX) and not path.is_dir()


def read_session(path: Path) -> Session:
    """Read `NAME.session.yaml`; its files are in its folder, or in folders of it.

    Raises:
        MediaError: it is malformed, has an invalid value, or names a file outside its folder.
        OSError: it could not be read.
    """
    with path.open("rb") as stream:
        content = stream.read(SESSION_BYTES + 1)
    if len(content) > SESSION_BYTES:
        raise MediaError(f"{path.name} has more than {SESSION_BYTES} bytes")
    try:
        values = yaml.safe_load(content.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MediaError(f"{path.name} is not YAML ({type(error).__name__})") from error
    if not isinstance(values, dict) or not isinstance(values.get("files"), list):
        raise MediaError(f"{path.name}: `files` must be a list of files with their roles")
    if unknown := set(map(str, values)) - {"files", "transcript"}:
        raise MediaError(f"{path.name}: unknown key {shown(min(unknown))}")
    if not 1 <= len(values["files"]) <= SESSION_FILES:
        raise MediaError(f"{path.name}: has {len(values['files'])} files; 1 to {SESSION_FILES}")
    files = tuple(_file(path, entry, n) for n, entry in enumerate(values["files"], start=1))
    people = [file.person for file in files if file.person]
    if twice := {person for person in people if people.count(person) > 1}:
        raise MediaError(f"{path.name}: two microphones for {shown(min(twice))}")
    transcript = values.get("transcript")
    if transcript is not None and not isinstance(transcript, str):
        raise MediaError(f"{path.name}: `transcript` must be the name of a file")
    return Session(files, None if transcript is None else _within(path, transcript))


def _within(path: Path, name: str) -> Path:
    """Return a file in the folder of the session file.

    Raises:
        MediaError: the name leaves the folder.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise MediaError(
            f"{path.name}: {shown(name)} is not a file in the folder of the session; move or link "
            "the file into it"
        )
    return path.parent / name


def _file(path: Path, entry: Any, number: int) -> SessionFile:
    place = f"{path.name}, file {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise MediaError(f"{place}: needs `file` and `role`")
    if unknown := set(map(str, entry)) - {"file", "role", "person", "offset"}:
        raise MediaError(f"{place}: unknown key {shown(min(unknown))}")
    role, person, offset = entry.get("role"), entry.get("person", ""), entry.get("offset", 0)
    if role not in (CAMERA, MICROPHONE):
        raise MediaError(f"{place}: `role` is {shown(role)}; must be {CAMERA} or {MICROPHONE}")
    if not isinstance(person, str) or len(person) > ID:
        raise MediaError(f"{place}: `person` must be a name of at most {ID} characters")
    if person and role == CAMERA:
        raise MediaError(f"{place}: `person` is for a microphone, not for a camera")
    is_number = isinstance(offset, (int, float)) and not isinstance(offset, bool)
    if not is_number or not math.isfinite(offset) or abs(offset) > _MAX_OFFSET:
        raise MediaError(f"{place}: `offset` is {shown(offset)}; must be a number of seconds")
    return SessionFile(_within(path, entry["file"]), role, person, seconds(float(offset)))


class SessionRecording:
    """The files of a session as one recording, with the topics /audio, /image and /speech.

    Args:
        path: the session file.
        cues: its transcript; empty: none. A cue without a speaker is attributed by level.
        frame_rate: frame rate of the image (Hz).
        recognizer: transcribes the mixture of the microphones if there is no transcript.

    Raises:
        MediaError: a file cannot be used. TranscriptError: it belongs to another session.
    """

    def __init__(
        self,
        path: Path,
        cues: Collection[Cue] = (),
        frame_rate: float = 5.0,
        recognizer: SpeechRecognizer | None = None,
    ) -> None:
        self.path = path
        self.warnings: Counter[str] = Counter()
        self._frame_rate = frame_rate
        self._recognizer = None if cues else recognizer
        self._cues = sorted(cues, key=attrgetter("start", "end"))
        opened = [(file, MediaFile(file.path)) for file in read_session(path).files]
        self._cameras = [(file, media) for file, media in opened if file.role == CAMERA]
        self._microphones = [(file, media) for file, media in opened if file.role == MICROPHONE]
        for file, media in opened:
            if (media.video if file.role == CAMERA else media.audio or None) is None:
                missing = "video" if file.role == CAMERA else "audio"
                raise MediaError(f"{file.path}, a {file.role}, has no {missing} track")
        if not self._microphones:
            self._microphones = [each for each in self._cameras if each[1].audio][:1]
        ends = [media.duration + file.offset for file, media in opened if media.duration]
        self._duration = max(0, *ends, 0)
        check_fit(self._cues, self._duration, path.name)
        people = [file.person for file, _ in self._microphones if file.person]
        self._voices = {person: f"voice_{number}" for number, person in enumerate(people)}
        length = self._duration / NS
        self.topics = [
            Topic(name, VALUES[role], max(1, round(count)))
            for name, role, count, is_available in (
                (AUDIO, "audio", length * 10 * (1 + len(people)), bool(self._microphones)),
                (IMAGE, "image", length * frame_rate, bool(self._cameras)),
                (SPEECH, "speech", len(self._cues), bool(self._cues) or recognizer is not None),
            )
            if is_available
        ]

    @property
    def span(self) -> tuple[int, int]:
        """Times (ns) of its start and end; (0, 0) if no file states its duration."""
        return (ORIGIN, ORIGIN + self._duration) if self._duration else (0, 0)

    def messages(self, topics: Collection[str]) -> Iterator[BagRecord]:
        """Yield values in the order of their arrival; the first one marks time 0."""
        sources: list[Iterator[BagRecord]] = []
        if AUDIO in topics and self._microphones:
            sources.append(self._audio(self._recognizer if SPEECH in topics else None))
        if IMAGE in topics and self._cameras:
            sources.append(
                BagRecord(frame.stamp, IMAGE, VALUES["image"], frame) for frame in self._images()
            )
        if SPEECH in topics:
            sources.append(self._texts())
        yield BagRecord(ORIGIN, SPEECH, VALUES["speech"], None)
        yield from heapq.merge(*sources, key=attrgetter("time"))
        for file, media in (*self._microphones, *self._cameras):
            for text, count in media.warnings.items():
                self.warnings[f"{file.path.name}: {text}"] = count

    def _texts(self) -> Iterator[BagRecord]:
        cues = [part for cue in self._cues for part in self._attributed(cue)]
        for text in transcripts_of(cues, self._voices):
            yield BagRecord(text.arrival, SPEECH, VALUES["speech"], text)

    def _attributed(self, cue: Cue) -> list[Cue]:
        if cue.speaker or not self._voices:
            return [cue]
        return self._levels.attributed(cue)

    @cached_property
    def _levels(self) -> Levels:
        """The levels of the whole session, from a first pass over the microphones."""
        powers = [powers for _, _, powers in _mixed(self._microphones)]
        people = [file.person for file, _ in self._microphones]
        return Levels(np.array(powers, np.float32).reshape(-1, len(people)), people)

    def _audio(self, recognizer: SpeechRecognizer | None) -> Iterator[BagRecord]:
        speech = None if recognizer is None else RecognizedSpeech(recognizer)
        now = ORIGIN
        for number, (mixture, blocks, _) in enumerate(_mixed(self._microphones)):
            start = ORIGIN + number * _BLOCK_TIME
            now = start + _BLOCK_TIME
            chunk = _chunk(mixture, start)
            for (file, _), block in zip(self._microphones, blocks, strict=True):
                if file.person and block is not None:
                    voice = VoiceSound(self._voices[file.person], _chunk(block, start))
                    yield BagRecord(now, AUDIO, VOICE, voice)
            yield BagRecord(now, AUDIO, VALUES["audio"], chunk)
            if speech is not None:
                yield from self._recognized(speech.feed(chunk), now)
        if speech is not None:
            yield from self._recognized(speech.flush(), now)

    def _recognized(self, cues: Collection[Cue], now: int) -> Iterator[BagRecord]:
        """Yield the texts of a speech recognizer; their times are on the clock of the recording."""
        for cue in cues:
            for part in self._attributed(_shifted(cue, -ORIGIN)):
                (text,) = transcripts_of([part], self._voices)
                yield BagRecord(now, SPEECH, VALUES["speech"], replace(text, arrival=now))

    def _images(self) -> Iterator[Frame]:
        """Yield an image of all cameras whenever each running camera has a new frame."""
        frames = heapq.merge(
            *(self._frames(number) for number in range(len(self._cameras))),
            key=lambda each: each[1].stamp,
        )
        if len(self._cameras) == 1:
            yield from (frame for _, frame in frames)
            return
        mosaic, throttle = Mosaic(len(self._cameras)), FrameThrottle(self._frame_rate)
        stamp, changed = 0, set[int]()
        for number, frame in frames:
            if number in changed:
                if throttle.takes(stamp):
                    yield mosaic.frame(stamp)
                changed.clear()
            mosaic.put(number, frame)
            changed.add(number)
            stamp = frame.stamp
        if changed and throttle.takes(stamp):
            yield mosaic.frame(stamp)

    def _frames(self, number: int) -> Iterator[tuple[int, Frame]]:
        file, media = self._cameras[number]
        for frame in media.frames(self._frame_rate):
            if (stamp := frame.stamp + file.offset) >= ORIGIN:
                yield number, replace(frame, stamp=stamp)

    def close(self) -> None:
        """Do nothing: no file is kept open between calls."""

    def __enter__(self) -> SessionRecording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Mosaic:
    """One image with the images of several cameras side by side, in cells of equal size.

    Args:
        cameras: number of cameras.
    """

    def __init__(self, cameras: int) -> None:
        self._columns = math.ceil(math.sqrt(cameras))
        self._width = MAX_SIDE // self._columns
        self._height = self._width * 3 // 4
        rows = math.ceil(cameras / self._columns)
        self._pixels = np.zeros((rows * self._height, self._columns * self._width, 3), np.uint8)

    def put(self, number: int, frame: Frame) -> None:
        """Draw a frame (bgr8) into the cell of camera `number`."""
        pixels = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 3)
        scale = min(self._width / frame.width, self._height / frame.height)
        size = max(1, int(frame.width * scale)), max(1, int(frame.height * scale))
        top = number // self._columns * self._height
        left = number % self._columns * self._width
        cell = self._pixels[top : top + self._height, left : left + self._width]
        cell[:] = 0
        cell[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)

    def frame(self, stamp: int) -> Frame:
        """Return the current image."""
        height, width = self._pixels.shape[:2]
        return Frame(stamp, "bgr8", width, height, 3 * width, self._pixels.tobytes())


class Levels:
    """Levels of the microphones of a session.

    Args:
        powers: (blocks, microphones) mean square of blocks of 0.1 s.
        people: the person of each microphone; "": unknown.
    """

    def __init__(self, powers: NDArray[np.float32], people: Sequence[str]) -> None:
        decibels = 10 * np.log10(np.maximum(powers, _SILENT))
        # Gains differ; levels relative to the noise of the room are comparable.
        floor = np.percentile(decibels, 10, axis=0) if len(decibels) else np.zeros(len(people))
        self._above = decibels - np.clip(floor, *_FLOOR)
        self._people = people

    def person(self, start: int, end: int) -> str:
        """Return the person of the loudest microphone from `start` to `end` (ns); "" if unclear."""
        first = max(0, start // _BLOCK_TIME)
        part = self._above[first : max(first + 1, -(-end // _BLOCK_TIME))]
        if not len(part):
            return ""
        loudest = part[part.max(axis=1) >= np.median(part.max(axis=1))]
        means = loudest.mean(axis=0)
        best = int(means.argmax())
        others = np.delete(means, best)
        if len(others) and means[best] - others.max() < MARGIN:
            return ""
        return self._people[best]

    def attributed(self, cue: Cue) -> list[Cue]:
        """Return the cue with its speaker, divided if timed words are of several people.

        Each part has at least two consecutive words of a person.
        """
        runs: list[tuple[str, list[Word]]] = []
        for word in cue.words:
            person = self.person(word.start, max(word.end, word.start + 1))
            if runs and person in ("", runs[-1][0]):
                runs[-1][1].append(word)
            else:
                runs.append((person, [word]))
        joined: list[tuple[str, list[Word]]] = []
        for person, words in runs:
            if joined and (len(words) < _MIN_WORDS or person in ("", joined[-1][0])):
                joined[-1][1].extend(words)
            else:
                joined.append((person, words))
        if len(joined) < 2:
            return [replace(cue, speaker=self.person(cue.start, cue.end))]
        return [
            replace(
                cue,
                start=words[0].start,
                end=words[-1].end,
                text=" ".join(word.text for word in words),
                speaker=person,
                words=tuple(words),
            )
            for person, words in joined
        ]


def _mixed(
    microphones: Sequence[tuple[SessionFile, MediaFile]],
) -> Iterator[tuple[NDArray[np.float32], list[NDArray[np.float32] | None], NDArray[np.float32]]]:
    """Yield (mixture, block of each microphone or None after its end, their powers) per 0.1 s.

    Gain sharing (Dugan): each microphone is weighted by its share of the power, so that the noise
    of silent ones is attenuated, and the mixture is not louder than the loudest one.
    """
    sources = [_blocks(media, file.offset) for file, media in microphones]
    smooth = np.full(len(sources), _SILENT, np.float32)
    shares = np.full(len(sources), 1 / len(sources), np.float32)
    ramp = np.linspace(0, 1, BLOCK, dtype=np.float32)[:, None]
    while True:
        blocks = [next(source, None) for source in sources]
        if all(block is None for block in blocks):
            return
        samples = np.stack(
            [np.zeros(BLOCK, np.float32) if b is None else b for b in blocks], axis=1
        )
        powers = np.square(samples).mean(axis=0) + np.float32(_SILENT)
        smooth = np.maximum(powers, smooth * np.float32(0.5))
        target = smooth / smooth.sum()
        weights = shares + (target - shares) * ramp
        shares = target
        yield (samples * weights).sum(axis=1), blocks, powers


def _blocks(media: MediaFile, offset: int) -> Iterator[NDArray[np.float32]]:
    """Yield blocks of 0.1 s from time 0 of the session, (BLOCK,) float32; gaps are silent."""
    block, first, is_empty = np.zeros(BLOCK, np.float32), 0, True  # first: its first sample
    for chunk in media.chunks(rate=SAMPLE_RATE):
        assert chunk.stamp is not None
        samples = np.frombuffer(chunk.data, "<i2").astype(np.float32) / 32768
        place = round((chunk.stamp - ORIGIN + offset) * SAMPLE_RATE / NS)
        samples = samples[max(0, first - place) :]
        place = max(place, first)
        while len(samples):
            if place >= first + BLOCK:
                yield block
                block, first = np.zeros(BLOCK, np.float32), first + BLOCK
                continue
            part = samples[: first + BLOCK - place]
            block[place - first : place - first + len(part)] = part
            samples, place, is_empty = samples[len(part) :], place + len(part), False
    if not is_empty:
        yield block


def _chunk(samples: NDArray[np.float32], start: int) -> AudioChunk:
    data = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()
    return AudioChunk(data, start, start + _BLOCK_TIME, format=_FORMAT)


def _shifted(cue: Cue, by: int) -> Cue:
    words = tuple(Word(word.text, word.start + by, word.end + by) for word in cue.words)
    return replace(cue, start=cue.start + by, end=cue.end + by, words=words)
