"""Progress bars of long commands on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from erc_ros.replay.bag import BagRecord, Recording, Topic

EVERY = 100  # messages between two reports

Progress = Callable[[float], None]
"""Takes the completed amount."""


@contextmanager
def progress_bar(total: float = 1.0, unit: str = "") -> Iterator[Progress]:
    """Show a bar with the remaining time if stderr is a terminal and tqdm is installed.

    Args:
        total: number of units.
        unit: plural, such as "recordings"; "": the bar has no number.

    Yields:
        A function that takes the number of completed units.

    Example:
        with progress_bar(len(files), "files") as progress:
            for number, file in enumerate(files, 1):
                read(file)
                progress(number)
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:  # on a robot, pip installs without dependencies
        yield lambda done: None
        return
    number = f" {{n:.4g}}/{{total:.4g}} {unit}," if unit else ""
    form = f"{{l_bar}}{{bar}}|{number} {{elapsed}} elapsed, {{remaining}} left"
    with tqdm(total=total, bar_format=form, disable=None) as bar:

        def progress(done: float) -> None:
            bar.update(done - bar.n)

        yield progress


class ReportingRecording:
    """A recording that reports the share of its messages that was read, 0 to 1."""

    def __init__(self, recording: Recording, progress: Progress) -> None:
        self.path: Path = recording.path
        self.topics: list[Topic] = recording.topics
        self.warnings: Counter[str] = recording.warnings
        self.span: tuple[int, int] = recording.span
        self._recording, self._progress = recording, progress

    def messages(self, topics: Collection[str]) -> Iterator[BagRecord]:
        """Yield the messages of the recording."""
        total = max(1, sum(topic.count for topic in self.topics if topic.name in topics))
        for number, record in enumerate(self._recording.messages(topics)):
            if number % EVERY == 0:
                self._progress(min(1.0, number / total))
            yield record
        self._progress(1.0)
