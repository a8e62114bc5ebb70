"""`erc enrol`: store a person's voice in a file, so that the nodes recognize it. Needs no ROS."""

from __future__ import annotations

import argparse
import shlex
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from erc_ros.dialogue.speakers.embedding import SpeakerEmbedding
from erc_ros.dialogue.speakers.enrolment import (
    EnrolmentError,
    enrol,
    load_voices,
    remove_voice,
    save_voices,
    speech_in,
)
from erc_ros.dialogue.voice_activity import SileroVoiceActivity
from erc_ros.pipeline import PerceptionConfig
from erc_ros.resources import model_folder
from erc_ros.sensing.audio import AudioFormat, decode
from erc_ros.values.bounds import ENROL_SECONDS
from erc_ros.values.files import explain
from erc_ros.values.utterance import SAMPLE_RATE

_SAMPLE_FORMATS = {1: "U8", 2: "S16LE", 4: "S32LE"}  # by bytes of a sample


def main(argv: Sequence[str]) -> int:
    """Add, replace or remove one voice.

    Raises:
        EnrolmentError: the audio or a file cannot be used.
        SpeakerModelError, FileNotFoundError: the model could not be loaded.
    """
    parser = argparse.ArgumentParser(
        prog="erc enrol",
        description="Store a person's voice in a file for the parameter known_voices of "
        "utterance_node. The file identifies people: ask for their consent first.",
    )
    parser.add_argument("name", help="name of the person, used as person_id")
    parser.add_argument(
        "sound",
        type=Path,
        nargs="?",
        help="WAV file with at least 5 s of the person's speech; 15 s are better",
    )
    parser.add_argument(
        "--voices", type=Path, required=True, help="file of voices; created if missing"
    )
    parser.add_argument("--remove", action="store_true", help="remove the voice of this name")
    parser.add_argument("--speaker-model", help="folder or name; default: as in the nodes")
    options = parser.parse_args(argv)
    if options.remove == (options.sound is not None):
        parser.error("give an audio file, or --remove")
    if options.remove:
        remove_voice(options.voices, options.name)
        print(f"{options.voices}: {options.name} removed")
    else:
        _add(options)
    return 0


def _add(options: argparse.Namespace) -> None:
    file, name = options.voices, options.name
    embedding = SpeakerEmbedding(
        model_folder(options.speaker_model or PerceptionConfig().speaker_model)
    )
    network = embedding.manifest.sha256
    voices = load_voices(file, network, embedding.manifest.size) if file.exists() else {}
    try:
        voice = enrol(embedding, speech_in(read_wave(options.sound), SileroVoiceActivity()))
    except EnrolmentError as error:
        raise EnrolmentError(f"{options.sound}: {error}") from error
    done = "replaced" if name in voices else "added"
    voices[name] = voice
    save_voices(file, network, voices)
    remove = shlex.join(["erc", "enrol", name, "--remove", "--voices", str(file)])
    print(
        f"{file}: {name} {done}, from {voice.heard:.0f} s of speech; {len(voices)} in total\n"
        "The file contains no audio, but features that identify this person: personal data.\n"
        f"Use it:    parameter known_voices of utterance_node := {file.resolve()}\n"
        f"Remove it: {remove}"
    )


def read_wave(file: Path) -> NDArray[np.float32]:
    """Read a WAV file as (n,) float32 at 16 kHz; channels are averaged.

    Uses `wave`, because the audio library of the training is not installed on robots.

    Raises:
        EnrolmentError: the file could not be read, is too long, or not of 8, 16 or 32 bit.
    """
    try:
        if file.exists() and not file.is_file():
            raise EnrolmentError(f"{file} is not a file")
        with wave.open(str(file), "rb") as recording:
            rate, bits = recording.getframerate(), 8 * recording.getsampwidth()
            form = AudioFormat(
                rate, recording.getnchannels(), _SAMPLE_FORMATS.get(bits // 8, f"{bits} bit")
            )
            if recording.getnframes() > ENROL_SECONDS * rate:
                raise EnrolmentError(
                    f"{recording.getnframes() / rate:.0f} s of audio, at most {ENROL_SECONDS} s "
                    "are allowed: shorten the file"
                )
            samples = decode(recording.readframes(recording.getnframes()), form).mean(axis=1)
    except EnrolmentError:
        raise
    except OSError as error:
        raise EnrolmentError(f"could not be read ({explain(error)})") from error
    except (EOFError, wave.Error, ValueError, RuntimeError) as error:  # the last: truncated
        raise EnrolmentError(
            f"could not be read ({error}); convert it: "
            f"ffmpeg -i {shlex.quote(str(file))} -ac 1 -ar {SAMPLE_RATE} -c:a pcm_s16le out.wav"
        ) from error
    return np.asarray(soxr.resample(samples, rate, SAMPLE_RATE), np.float32)
