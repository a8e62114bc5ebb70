"""Limits of untrusted input (messages, bags and files), in one table.

Every limit is checked before the data is decoded, copied or stored. Data beyond its limit is
rejected (or cut, where the table says so) and counted. SECURITY.md shows this table.
"""

from __future__ import annotations

# Texts, in characters.
TEXT = 100_000  # characters of a text; a longer one is cut
ID = 256  # of conversations, utterances, voices, faces, people, and frame ids
NAME = 64  # locales, encodings, sample formats
SHOWN = 80  # of an untrusted text in an error or a log message; the rest is omitted

# Images.
SIDE = 8192  # pixels, width and height
PIXELS = 7680 * 4320  # of an image: 8K video
COMPRESSED_BYTES = 32 * 2**20  # of a JPEG or PNG
JPEG_SCANS = 100  # of a progressive JPEG; each scan costs a pass over all pixels
FACE_SIDE = 1024  # pixels, of a face crop in an utterance
FACE_PIXELS = 8 * 2**20  # of all face crops of an utterance
FACES = 64  # of an utterance

# Audio.
CHUNK_BYTES = 16 * 2**20  # of a message
CHUNK_SECONDS = 60  # of a message
UTTERANCE_SAMPLES = 60 * 16_000  # of an utterance

ENROL_SECONDS = 600  # of a recording of one voice

# Lists, in entries.
CANDIDATES = 64  # texts that a speech recognizer offers for one segment; the others are ignored
WORDS = 10_000  # word times of one text; with more of them, the text is used without its times
CORRECTED_UTTERANCES = 1024  # of one speaker correction
JOINTS = 1024  # of a JointState message
OPTED_OUT = 1000  # ids of people who opted out

# Parameters also limit the number of queued messages.
QUEUE_BYTES = 128 * 2**20  # of the queued messages of an input; a full queue drops the oldest

# Recordings, in bytes. Compressed data is counted as it is decompressed, whatever its header says.
MESSAGE_BYTES = 256 * 2**20  # of a message; a larger one is skipped
RECORD_BYTES = 256 * 2**20  # of a chunk or another record of a file
OVERLAPPING_BYTES = 2**30  # of the chunks with overlapping times, which have to be read at once
UNPACKED_RATIO = 100  # decompressed size divided by the size of a file compressed as a whole
METADATA_BYTES = 2**20  # of metadata.yaml
DEFINITION = 262_144  # characters of a message definition
TOPICS = 10_000  # topics of a recording
TOPIC_NAME = 1024  # characters of the name of a topic, and of its type

# Media files and their transcripts.
MEDIA_SECONDS = 86_400  # of a media file; a longer one is refused, or cut if its header is wrong
MEDIA_TRACKS = 64  # audio tracks of a media file; further ones are ignored
MEDIA_CHANNELS = 64  # of an audio track; one with more is ignored
MEDIA_MIN_RATE = 4_000  # Hz of an audio track; a track below it is ignored
MEDIA_MAX_RATE = 768_000  # Hz of an audio track; a track above it is ignored
MEDIA_PACKETS = 2_000  # per second of a track; a track with more is cut at that point
SESSION_BYTES = 2**20  # of NAME.session.yaml
SESSION_FILES = 16  # files listed in it
TRANSCRIPT_BYTES = 64 * 2**20  # of a transcript file
CUES = 500_000  # entries of a transcript file

TOLD_SECONDS = 3600.0  # s, a duration or word time of a speech recognizer; if longer, not used


def shown(text: object) -> str:
    """Return an untrusted text for an error or log message: quoted, at most `SHOWN` characters."""
    whole = text if isinstance(text, str) else str(text)
    if len(whole) <= SHOWN:
        return repr(whole)
    return f"{whole[:SHOWN]!r}... ({len(whole)} characters)"
