"""Times of a recording at which `recording_allowed` was false, so that nothing may be kept.

`replay` excludes texts from its rows as the nodes do. Code that extracts audio and images from a
recording checks both their times of recording and their stamps.
"""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.input_reader import tells_consent
from erc_ros.replay.bag import Bag, BagError, Recording

_EVER = 2**63 - 1  # ns


@dataclass(frozen=True, slots=True)
class WithheldTimes:
    """Times of a recording (ns) of which nothing may be kept.

    spans: (from, until), half-open, ordered and disjoint.
    """

    spans: tuple[tuple[int, int], ...] = ()

    def touch(self, start: int, end: int) -> bool:
        """Return whether the closed interval [start, end] overlaps a span."""
        return any(start < until and since <= end for since, until in self.spans)


def withheld_times(bag: Recording) -> WithheldTimes:
    """Return the withheld times of a recording; its last message applies until the end."""
    if not isinstance(bag, Bag):
        return WithheldTimes()  # a media file has no such topic
    spans: list[tuple[int, int]] = []
    since: int | None = None
    topics = {topic.name for topic in bag.topics if tells_consent(topic.name, topic.type)}
    for raw in bag.raw(topics):
        try:
            is_allowed = bool(bag.decode(raw).data)
        except BagError:  # `Bag.messages` counts and reports it
            continue
        if not is_allowed and since is None:
            since = raw.time
        elif is_allowed and since is not None:
            spans.append((since, raw.time))
            since = None
    return WithheldTimes((*spans, (since, _EVER)) if since is not None else tuple(spans))
