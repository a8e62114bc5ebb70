"""Speech recognition for recordings without a transcript.

`RecognizedSpeech` splits the audio into speech segments and passes each to a `SpeechRecognizer`. No
model is downloaded, unless the user names one that its library downloads.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from erc_ros import plugins
from erc_ros.dialogue.voice_activity import (
    FRAME,
    FRAME_TIME,
    Activity,
    Ended,
    SileroVoiceActivity,
    VoiceActivityConfig,
    finish,
    step,
)
from erc_ros.media.transcripts import Cue
from erc_ros.sensing.audio import decode
from erc_ros.sensing.microphone import AudioChunk
from erc_ros.values.errors import ErcValueError
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.transcript import Word
from erc_ros.values.utterance import SAMPLE_RATE

PAUSES = VoiceActivityConfig(hangover=0.5, padding=0.2)  # longer, for context
_KEPT = seconds(PAUSES.max_stretch + 5.0)  # audio kept for the open segment


class RecognizerError(ErcValueError):
    """A speech recognizer cannot be used; the message states the reason and a remedy."""


class SpeechRecognizer(Protocol):
    """Transcribes segments of speech.

    Contract:

    - The class is called with (model, language): MODEL in `NAME:MODEL`, or "", and a language code
      such as "en", or "" if unknown. It raises `RecognizerError` if the model cannot be loaded.
    - `transcribe` depends only on its argument, not on earlier calls: the same samples give the
      same cues. It does not modify its argument.
    - Cues are sorted by time; their times and those of their words are ns from the first sample
        and are within the segment. A confidence is a number from 0 to 1, or None.
    - It returns an empty list if it recognizes no words. Silence and a segment of 10 ms raise no
      exception.
    - It is called by one thread and uses no network connection while it runs.
    """

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        """Return cues of (n,) mono int16 samples at 16 kHz; times count from the first sample."""


class RecognizedSpeech:
    """Converts audio chunks to cues: voice activity detection, then the recognizer.

    Not thread-safe. The cues do not depend on how the audio is divided into chunks.

    Args:
        recognizer: transcribes the segments.
    """

    def __init__(self, recognizer: SpeechRecognizer) -> None:
        self._recognizer = recognizer
        self._network = SileroVoiceActivity()
        self._activity = Activity()
        self._resampler: soxr.ResampleStream | None = None
        self._samples = np.zeros(0, np.float32)  # at 16 kHz; the last _KEPT
        self._start = 0  # ns; time of the first sample
        self._next = 0  # index of the next frame of the network in the samples
        self._expected: int | None = None  # ns; expected start of the next chunk

    def feed(self, chunk: AudioChunk) -> list[Cue]:
        """Process mono audio with format and stamp; return the cues of segments that ended."""
        assert chunk.format is not None
        assert chunk.stamp is not None
        cues = []
        samples = decode(chunk.data, chunk.format)[:, 0]
        if self._expected is None or abs(chunk.stamp - self._expected) > NS // 50:
            cues += self.flush()
            self._start = chunk.stamp
            self._resampler = soxr.ResampleStream(chunk.format.rate, SAMPLE_RATE, 1, "float32")
        self._expected = chunk.stamp + len(samples) * NS // chunk.format.rate
        assert self._resampler is not None
        return cues + self._detect(self._resampler.resample_chunk(samples))

    def flush(self) -> list[Cue]:
        """End the audio, also before a gap; return the cues of the open segment."""
        cues: list[Cue] = []
        if self._resampler is not None:
            remainder = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            cues += self._detect(remainder)
            self._activity, events = finish(self._activity, PAUSES)
            cues += self._transcribe(events)
        self._resampler, self._expected, self._activity = None, None, Activity()
        self._samples, self._next = np.zeros(0, np.float32), 0
        self._network.reset()
        return cues

    def _detect(self, samples: NDArray[np.float32]) -> list[Cue]:
        self._samples = np.concatenate([self._samples, samples])
        cues: list[Cue] = []
        while self._next + FRAME <= len(self._samples):
            frame = self._samples[self._next : self._next + FRAME]
            time = self._start + self._next * NS // SAMPLE_RATE
            self._activity, events = step(self._activity, PAUSES, time, self._network.feed(frame))
            self._next += FRAME
            cues += self._transcribe(events)
        surplus = min(self._next, len(self._samples) - _KEPT * SAMPLE_RATE // NS)
        if surplus > _KEPT * SAMPLE_RATE // NS:
            surplus -= surplus % FRAME
            self._samples = self._samples[surplus:]
            self._start += surplus * NS // SAMPLE_RATE
            self._next -= surplus
        return cues

    def _transcribe(self, events: list[Any]) -> list[Cue]:
        cues: list[Cue] = []
        for event in events:
            if not isinstance(event, Ended):
                continue
            first, last = (
                max(0, (time - self._start) * SAMPLE_RATE // NS)
                for time in (event.start, event.end)
            )
            audio = self._samples[first:last]
            if len(audio) * NS // SAMPLE_RATE < FRAME_TIME:
                continue
            start = self._start + first * NS // SAMPLE_RATE
            segment = np.asarray(np.clip(np.rint(audio * 32768), -32768, 32767), np.int16)
            length = len(segment) * NS // SAMPLE_RATE
            for cue in self._recognizer.transcribe(segment):
                if cue.text.strip():
                    cues.append(_moved(cue, start, start + length))
        return cues


def _moved(cue: Cue, start: int, last: int) -> Cue:
    """Return a cue on the clock of the recording, limited to its segment."""

    def at(time: int) -> int:
        return min(max(start, start + time), last)

    words = tuple(Word(word.text, at(word.start), at(word.end)) for word in cue.words)
    return replace(cue, start=at(cue.start), end=at(cue.end), words=words)


# --- adapters ---


class FasterWhisper:
    """Whisper on CTranslate2. model: a folder, or a name that faster-whisper loads or downloads."""

    def __init__(self, model: str, language: str = "") -> None:
        from faster_whisper import WhisperModel

        self._language = language or None
        self._model: Any = WhisperModel(model, device="cpu", compute_type="int8")

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        """See `SpeechRecognizer`."""
        audio = samples.astype(np.float32) / 32768
        segments, info = self._model.transcribe(
            audio, language=self._language, word_timestamps=True, condition_on_previous_text=False
        )
        return [
            Cue(
                seconds(max(0.0, each.start)),
                seconds(max(0.0, each.end)),
                each.text.strip(),
                words=tuple(
                    Word(word.word.strip(), seconds(max(0.0, word.start)), seconds(word.end))
                    for word in each.words or ()
                ),
                confidence=float(np.exp(min(0.0, each.avg_logprob))),
                locale=str(info.language or ""),
            )
            for each in segments
        ]


class WhisperCpp:
    """whisper.cpp by pywhispercpp. model: a ggml file, or a name that it loads or downloads."""

    def __init__(self, model: str, language: str = "") -> None:
        from pywhispercpp.model import Model

        self._model: Any = Model(model, print_progress=False, print_realtime=False)
        self._language = language or "auto"

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        """See `SpeechRecognizer`."""
        audio = samples.astype(np.float32) / 32768
        segments = self._model.transcribe(audio, language=self._language)
        centiseconds = NS // 100
        return [Cue(each.t0 * centiseconds, each.t1 * centiseconds, each.text) for each in segments]


class Vosk:
    """Vosk. model: the folder of a downloaded model."""

    def __init__(self, model: str, language: str = "") -> None:
        import vosk

        if not Path(model).is_dir():
            raise RecognizerError(f"vosk needs the folder of a model; {model!r} is not a folder")
        vosk.SetLogLevel(-1)
        self._vosk: Any = vosk
        self._model: Any = vosk.Model(model)
        self._language = language

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        """See `SpeechRecognizer`."""
        recognizer = self._vosk.KaldiRecognizer(self._model, SAMPLE_RATE)
        recognizer.SetWords(True)
        recognizer.AcceptWaveform(samples.tobytes())
        result = json.loads(recognizer.FinalResult())
        words = tuple(
            Word(each["word"], seconds(each["start"]), seconds(each["end"]))
            for each in result.get("result", ())
        )
        if not words:
            return []
        return [
            Cue(words[0].start, words[-1].end, result["text"], words=words, locale=self._language)
        ]


class PocketSphinx:
    """PocketSphinx, whose wheel includes an English model. For trials: it makes many errors."""

    def __init__(self, model: str = "", language: str = "en") -> None:
        from pocketsphinx import Decoder

        if model:
            raise RecognizerError("pocketsphinx uses the model of its wheel: give no model")
        self._decoder: Any = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
        self._frame = NS // int(self._decoder.config["frate"])

    def transcribe(self, samples: NDArray[np.int16]) -> list[Cue]:
        """See `SpeechRecognizer`."""
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        words = tuple(
            Word(
                each.word.partition("(")[0],
                each.start_frame * self._frame,
                (each.end_frame + 1) * self._frame,
            )
            for each in self._decoder.seg() or ()
            if each.word[0] not in "<["
        )
        if not words:
            return []
        text = " ".join(word.text for word in words)
        return [Cue(words[0].start, words[-1].end, text, words=words, locale="en")]


def load_recognizer(name: str, language: str = "") -> SpeechRecognizer:
    """Return the recognizer `NAME`, `NAME:MODEL`, or a custom class `module:Class[:MODEL]`.

    Raises:
        PluginError: the class does not exist.
        RecognizerError: its model is not given or could not be loaded.
        ModuleNotFoundError: its library is not installed.

    Example:
        >>> load_recognizer("faster-whisper:small.en", "en")
    """
    kind, _, model = name.partition(":")
    if kind not in plugins.names(plugins.SPEECH_RECOGNIZERS):
        module, _, remainder = name.partition(":")
        attribute, _, model = remainder.partition(":")
        kind = f"{module}:{attribute}" if attribute else module
    make = plugins.find(plugins.SPEECH_RECOGNIZERS, kind)
    if kind in ("faster-whisper", "whisper.cpp", "vosk") and not model:
        raise RecognizerError(f"{kind} needs a model: give {kind}:MODEL (a name or a path)")
    try:
        recognizer: SpeechRecognizer = make(model, language)
    except (ModuleNotFoundError, RecognizerError):
        raise
    except Exception as error:  # the libraries raise various types
        raise RecognizerError(
            f"{kind} could not load the model {model!r} ({type(error).__name__}): "
            "give its folder or file"
        ) from error
    return recognizer
