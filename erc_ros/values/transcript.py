"""Results of a speech recognizer."""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.values.nanoseconds import check_time


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its start and end time in ns."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """One result of a speech recognizer, partial or final.

    The speech ended at `end` if the speech recognizer reports it, otherwise at `time` or earlier.

    Raises:
        TypeError: a time is not in integer nanoseconds.
        ValueError: a time does not fit into 64 bits.
    """

    text: str
    arrival: int  # ns; receive time on the node's clock, or the log time in the bag
    stamp: int | None = None  # ns; header stamp; None if it is missing or zero
    start: int | None = None  # ns; None if the speech recognizer does not report it
    end: int | None = None  # ns; likewise
    words: tuple[Word, ...] = ()  # sorted by time; empty if the recognizer does not report them
    is_final: bool = True
    confidence: float | None = None  # 0..1; None: unknown
    locale: str = ""
    voice_id: str = ""  # ROS4HRI voice; "" if the topic is not per voice
    person_id: str = ""  # ROS4HRI person; "" if unknown
    no_speech: float | None = None  # 0..1, probability that no person spoke; None: unknown

    def __post_init__(self) -> None:
        check_time("arrival", self.arrival)
        for name in ("stamp", "start", "end"):
            if (time := getattr(self, name)) is not None:
                check_time(name, time)

    @property
    def time(self) -> int:
        """Latest time (ns) at which the speech can have ended."""
        if self.end is not None:
            return self.end
        return self.arrival if self.stamp is None else self.stamp


def text_confidence(transcript: Transcript | None) -> float:
    """Return the confidence (0..1) for an `Utterance`; NaN if it is unknown or there is no text."""
    if transcript is None or transcript.confidence is None:
        return float("nan")
    return transcript.confidence
