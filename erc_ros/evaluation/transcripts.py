"""The transcript of a media file: named by the user, or a subtitle file of the same name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from erc_ros.annotations import read
from erc_ros.media.recognizers import SpeechRecognizer, load_recognizer
from erc_ros.media.transcripts import Cue, TranscriptError, check_fit, read_cues
from erc_ros.replay.recording import duration, is_media, recording_name
from erc_ros.replay.session import is_session, read_session

SIDECARS = (".srt", ".vtt")
_ANNOTATIONS = (".eaf", ".textgrid", ".txt")  # .txt: exported by ELAN


def find_transcript(media: Path) -> Path | None:
    """Return the transcript that a session names, or the subtitle file of the same name."""
    if is_session(media) and (named := read_session(media).transcript) is not None:
        return named
    for suffix in SIDECARS:
        if (file := media.with_name(recording_name(media) + suffix)).is_file():
            return file
    return None


def recognizer_for(name: str | None, language: str = "") -> SpeechRecognizer | None:
    """Return the speech recognizer that the user named; None where none is named.

    Raises:
        RecognizerError: it cannot be used. ModuleNotFoundError: its library is not installed.
    """
    return load_recognizer(name, language) if name else None


def cues_for(
    recording: Path,
    transcript: Path | None,
    say: Callable[[str], None] | None = None,
    recognizer: str = "",
) -> list[Cue]:
    """Return the transcript of a recording; a rosbag2 has it in a topic, so the list is empty.

    Args:
        recording: a media file or a rosbag2.
        transcript: as the user named it; None: the subtitle file of the same name.
        say: receives one line about what is used, or missing.
        recognizer: the name of the speech recognizer that takes the place of a transcript.

    Raises:
        TranscriptError: it cannot be used, or is that of another recording.
        MediaError: the recording cannot be used.
        FileNotFoundError: there is no such file.
    """
    if not is_media(recording):
        if transcript is not None and recording.exists():
            raise TranscriptError(
                f"{recording} is a rosbag2, which has its transcript in a topic: --transcript is "
                "for media files; --recognizer recognizes its speech again"
            )
        if recognizer and say is not None:
            say(f"speech recognition: {recognizer}")
        return []
    if recognizer and transcript is not None:
        raise TranscriptError("give --transcript or --recognizer, not both")
    if not recording.is_file():
        raise FileNotFoundError(f"{recording} does not exist; give a media file or a rosbag2")
    if recognizer:
        if say is not None:
            say(f"speech recognition: {recognizer}")
        return []
    path = find_transcript(recording) if transcript is None else transcript
    if path is None:
        if say is not None:
            say(f"{recording.name}: no transcript; give --transcript FILE or --recognizer NAME")
        return []
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the file of a transcript")
    cues = read_transcript(path)
    check_fit(cues, duration(recording), path.name)
    if say is not None:
        speakers = len({cue.speaker for cue in cues} - {""})
        known = f", {speakers} speakers" if speakers else ", speakers by voice"
        say(f"transcript: {path.name}, {len(cues)} entries{known}")
    return cues


def read_transcript(path: Path) -> list[Cue]:
    """Return the cues of a transcript, or of the text tiers of an annotation (ELAN, TextGrid).

    Raises:
        TranscriptError: it cannot be used. OSError: the file cannot be read.
    """
    if path.suffix.casefold() not in _ANNOTATIONS:
        return read_cues(path)
    marks = [mark for mark in read(path) if mark.kind == "text" and mark.value]
    if not marks:
        raise TranscriptError(f"{path.name} has no words with times")
    cues = [Cue(mark.start, mark.end, mark.value, mark.speaker) for mark in marks]
    return sorted(cues, key=lambda cue: (cue.start, cue.end))
