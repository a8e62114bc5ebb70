"""The times at which nothing of a recording may be kept: `recording_allowed` was false.

`replay` excludes texts from its rows as the nodes do. Code that cuts audio and images from a
recording asks here, by the times at which they were recorded and at which they happened.
"""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.input_reader import tells_consent
from erc_ros.replay.bag import Bag, BagError, Recording

_EVER = 2**63 - 1  # ns


@dataclass(frozen=True, slots=True)
class WithheldTimes:
    """Times of a recording, ns, of which nothing may be kept.

    spans: (from, until), half-open, ordered and disjoint.
    """

    spans: tuple[tuple[int, int], ...] = ()

    def touch(self, start: int, end: int) -> bool:
        """Return whether a time between these, both included, is in one of the spans."""
        return any(start < until and since <= end for since, until in self.spans)


def withheld_times(bag: Recording) -> WithheldTimes:
    """What the recording says of itself; what was told last holds to its end."""
    if not isinstance(bag, Bag):
        return WithheldTimes()  # a media file has no such topic
    spans: list[tuple[int, int]] = []
    since: int | None = None
    topics = {topic.name for topic in bag.topics if tells_consent(topic.name, topic.type)}
    for raw in bag.raw(topics):
        try:
            is_allowed = bool(bag.decode(raw).data)
        except BagError:  # `Bag.messages` counts and names it
            continue
        if not is_allowed and since is None:
            since = raw.time
        elif is_allowed and since is not None:
            spans.append((since, raw.time))
            since = None
    return WithheldTimes((*spans, (since, _EVER)) if since is not None else tuple(spans))
