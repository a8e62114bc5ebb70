"""Message types that a bag may not carry and that no rosbags store knows: ours and our neighbours'.

The texts equal the files in `interfaces/` (a test compares the type hashes).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

DEFINITIONS = {
    "audio_common_msgs/msg/AudioData": "uint8[] data\n",
    "audio_common_msgs/msg/AudioDataStamped": (
        "std_msgs/Header header\naudio_common_msgs/AudioData audio\n"
    ),
    "audio_common_msgs/msg/AudioInfo": (
        "uint8 channels\nuint32 sample_rate\nstring sample_format\nuint32 bitrate\n"
        "string coding_format\n"
    ),
    "hri_msgs/msg/LiveSpeech": (
        "std_msgs/Header header\nstring incremental\nstring final\nfloat64 confidence\n"
        "string locale\n"
    ),
}


@functools.lru_cache(maxsize=1)
def typestore() -> Typestore:
    """The standard types of ROS 2 together with `DEFINITIONS`."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    types = {}
    for name, text in DEFINITIONS.items():
        types.update(get_types_from_msg(text, name))
    store.register(types)
    return store
