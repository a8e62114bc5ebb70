"""A rosbag2 with the estimates as messages, for Foxglove and to merge with the recording."""

from __future__ import annotations

import re
import shutil
import tempfile
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erc_ros.evaluation.exports.foxglove import write_layout
from erc_ros.evaluation.exports.lines import Line, by_speaker, lines_of_predictions, lines_of_truth
from erc_ros.evaluation.names import confidence_of
from erc_ros.evaluation.records import Prediction, Recording
from erc_ros.replay.bag import BagWriter
from erc_ros.values.nanoseconds import NS, seconds
from erc_ros.values.utterance import MODALITIES
from erc_ros.values.why import TEXT_FIELDS, message_fields, or_nan

EMOTIONS, STATES, SOUND = "/emotions", "/emotion_states", "/sound"
LAYOUT = "foxglove.json"
_ESTIMATE, _STATE = "erc_msgs/msg/EmotionEstimate", "std_msgs/msg/String"
_RAW_AUDIO = "foxglove_msgs/msg/RawAudio"
_CHUNK = seconds(0.1)  # of audio in a message


@dataclass(frozen=True)
class _Entry:
    time: int
    topic: str
    type: str
    message: Any


def write_bag(
    recording: Recording,
    folder: Path,
    *,
    prefix: str = "",
    with_text: bool = True,
    sound: Path | None = None,
    image: str = "/image/compressed",
) -> Path:
    """Write a rosbag2 (MCAP) to `folder`, replacing an earlier one, and its layout into it.

    Topics: `prefix`/emotions has the estimates, each at its end plus latency;
    `prefix`/emotion_states/NAME has the emotion of a speaker from start to end of each utterance
    and "" between them; /truth/emotion_states/NAME has the annotation; /sound has audio for
    Foxglove. Times are those of the recording.

    Args:
        prefix: as "/evaluation", where the recording has a topic /emotions of its own.
        sound: WAV, mono, 16 bit, time 0 the recording's first message.
        image: topic of the camera in the recording, for the layout.

    Raises:
        OSError: the folder cannot be written to; an earlier bag is then unchanged.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch, folder.name)
        states = _states(recording, prefix)
        with BagWriter(new) as writer:
            entries = list(_estimates(writer, recording, prefix, with_text))
            for topic, lines in states.items():
                entries += _transitions(writer, topic, lines, recording.origin)
            entries += [] if sound is None else _sound(writer, sound, recording.origin)
            for entry in sorted(entries, key=lambda entry: entry.time):
                writer.write(entry.topic, entry.type, entry.time, entry.message)
        rows = {topic.removeprefix("/").replace(f"{STATES[1:]}/", ""): topic for topic in states}
        write_layout(new / LAYOUT, rows, prefix + EMOTIONS, image, SOUND)
        shutil.rmtree(folder, ignore_errors=True)
        new.replace(folder)
    return folder


def _states(recording: Recording, prefix: str) -> dict[str, list[Line]]:
    """Return topic -> its lines, the annotation first."""
    result: dict[str, list[Line]] = {}
    truth = lines_of_truth(recording.truth) if recording.truth is not None else []
    for start, lines in (("/truth", truth), (prefix, lines_of_predictions(recording))):
        for speaker, own in by_speaker(lines).items():
            name = re.sub(r"\W+", "_", speaker, flags=re.ASCII).strip("_") or "unknown"
            name = f"_{name}" if name[0].isdigit() else name
            result.setdefault(f"{start}{STATES}/{name}", []).extend(own)
    return result


def _transitions(
    writer: BagWriter, topic: str, lines: Iterable[Line], origin: int
) -> Iterator[_Entry]:
    """Yield the emotion at each start, and "" at each end unless another utterance continues."""
    ordered = sorted(lines, key=lambda line: line.start)
    for line, following in zip(ordered, [*ordered[1:], None], strict=True):
        felt = line.emotion or "?"
        yield _Entry(origin + line.start, topic, _STATE, writer.new(_STATE, data=felt))
        if following is None or following.start > line.end:
            yield _Entry(origin + line.end, topic, _STATE, writer.new(_STATE, data=""))


def _estimates(
    writer: BagWriter, recording: Recording, prefix: str, with_text: bool
) -> Iterator[_Entry]:
    for answer in recording.predictions:
        time = recording.origin + answer.end + (answer.latency or 0)
        message = _estimate(writer, recording, answer, with_text)
        yield _Entry(time, prefix + EMOTIONS, _ESTIMATE, message)


def _estimate(writer: BagWriter, recording: Recording, answer: Prediction, with_text: bool) -> Any:
    """Return a prediction as a message; missing fields are empty."""
    header = writer.header(recording.origin + answer.end)
    start = writer.header(recording.origin + answer.start).stamp
    return writer.new(
        _ESTIMATE,
        header=header,
        conversation_id=answer.conversation_id,
        utterance_id=answer.utterance_id,
        speaker_id=answer.speaker,
        speaker_confidence=or_nan(answer.speaker_confidence),
        overlap=or_nan(answer.overlap),
        start=start,
        end=header.stamp,
        text=answer.text if with_text else "",
        text_confidence=float("nan"),
        labels=list(recording.labels),
        probabilities=np.asarray(answer.probabilities, np.float32),
        label="" if answer.is_unknown else answer.label,
        confidence=confidence_of(answer),
        valence=answer.valence,
        arousal=answer.arousal,
        modality_names=list(MODALITIES),
        modalities=np.array(answer.modalities),
        modality_weights=np.array(answer.weights, np.float32),
        **_why(answer),
        is_final=answer.is_final,
        bundle_name=recording.system,
        latency_total_ns=answer.latency or 0,
    )


def _why(answer: Prediction) -> dict[str, Any]:
    """Return the fields that explain an estimate, in the number types of the bag writer."""
    return {
        name: values if name in TEXT_FIELDS else np.array(values, np.float32)
        for name, values in message_fields(answer.why, MODALITIES).items()
    }


def _sound(writer: BagWriter, file: Path, origin: int) -> Iterator[_Entry]:
    with wave.open(str(file), "rb") as stream:
        rate, channels = stream.getframerate(), stream.getnchannels()
        count = rate * _CHUNK // NS
        for first in range(0, stream.getnframes(), count):
            time = origin + first * NS // rate
            data = np.frombuffer(stream.readframes(count), np.uint8)
            message = writer.new(
                _RAW_AUDIO,
                timestamp=writer.header(time).stamp,
                data=data,
                format="pcm-s16",
                sample_rate=rate,
                number_of_channels=channels,
            )
            yield _Entry(time, SOUND, _RAW_AUDIO, message)
