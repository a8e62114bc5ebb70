"""What a speech recognizer said, as the dialogue sees it."""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.values.nanoseconds import check_time


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was said, ns."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """One result of a speech recognizer, partial or final.

    Its speech ended at `end` where the speech recognizer tells, otherwise at `time` at the latest.

    Raises:
        TypeError: a time that is not in integer nanoseconds.
        ValueError: a time that does not fit into 64 bits.
    """

    text: str
    arrival: int  # ns; when it came: receive time on the node's clock, or the bag's log time
    stamp: int | None = None  # ns; header stamp, None where there is none (or it is zero)
    start: int | None = None  # ns; where the speech recognizer tells it
    end: int | None = None  # ns; likewise
    words: tuple[Word, ...] = ()  # in the order of time; (): the speech recognizer does not tell
    is_final: bool = True
    confidence: float = float("nan")  # 0..1
    locale: str = ""
    voice_id: str = ""  # ROS4HRI voice, "" where the topic is not per voice
    person_id: str = ""  # ROS4HRI person, where known
    no_speech: float = float("nan")  # 0..1, probability that no person spoke; NaN: unknown

    def __post_init__(self) -> None:
        check_time("arrival", self.arrival)
        for name in ("stamp", "start", "end"):
            if (time := getattr(self, name)) is not None:
                check_time(name, time)

    @property
    def time(self) -> int:
        """The latest time (ns) at which its speech can have ended."""
        if self.end is not None:
            return self.end
        return self.arrival if self.stamp is None else self.stamp
