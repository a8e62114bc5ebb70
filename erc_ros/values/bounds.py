"""How much of anything is read that comes from outside: one table, for messages, bags and files.

Every bound is checked before the thing is decoded, copied or kept. What is beyond its bound is
refused (or cut, where the table says so) and counted. SECURITY.md shows this table.
"""

from __future__ import annotations

# Texts, in characters.
TEXT = 100_000  # characters of a text; a longer one is cut
ID = 256  # of conversations, utterances, voices, faces, people, and frame ids
NAME = 64  # locales, encodings, sample formats
SHOWN = 80  # of a foreign text in an error or a log; the rest is omitted

# Images.
SIDE = 8192  # pixels, width and height
PIXELS = 7680 * 4320  # of an image: 8K video
COMPRESSED_BYTES = 32 * 2**20  # of a JPEG or PNG
JPEG_SCANS = 100  # of a progressive JPEG; each of them costs a pass over all pixels
FACE_SIDE = 1024  # pixels, of a face crop in an utterance
FACE_PIXELS = 8 * 2**20  # of all face crops of an utterance
FACES = 64  # of an utterance

# Sound.
CHUNK_BYTES = 16 * 2**20  # of a message
CHUNK_SECONDS = 60  # of a message
UTTERANCE_SAMPLES = 60 * 16_000  # of an utterance

ENROL_SECONDS = 600  # of a recording of one voice

# Lists, in entries.
CANDIDATES = 64  # texts that a speech recognizer offers for one segment; the others are ignored
WORDS = 10_000  # times of words of one text; more: the text counts, its times do not
CORRECTED_UTTERANCES = 1024  # of one speaker correction
JOINTS = 1024  # of a JointState message
OPTED_OUT = 1000  # ids of people who opted out

# What waits for a worker, of each input; parameters bound the number of messages next to it.
QUEUE_BYTES = 128 * 2**20

# Recordings, in bytes. What is packed counts as it unpacks, whatever it says of itself.
MESSAGE_BYTES = 256 * 2**20  # of a message; a larger one is skipped
RECORD_BYTES = 256 * 2**20  # of a chunk or another record of a file
OVERLAPPING_BYTES = 2**30  # of the chunks whose times overlap, which have to be read at once
UNPACKED_RATIO = 100  # a file that is packed as a whole may unpack to so many times its size
METADATA_BYTES = 2**20  # of metadata.yaml
DEFINITION = 262_144  # characters of a message definition
TOPICS = 10_000  # topics of a recording
TOPIC_NAME = 1024  # characters of a topic's name, and of its type's

# Media files and their transcripts.
MEDIA_SECONDS = 86_400  # of a media file; a longer one is refused, one that hides it is cut
MEDIA_TRACKS = 64  # audio tracks of a media file; further ones are ignored
MEDIA_CHANNELS = 64  # of an audio track; one with more is ignored
MEDIA_MIN_RATE = 4_000  # Hz of an audio track; one below it is ignored
MEDIA_MAX_RATE = 768_000  # Hz of an audio track; one above it is ignored
MEDIA_PACKETS = 2_000  # per second of a track; one with more is cut there
SESSION_BYTES = 2**20  # of NAME.session.yaml
SESSION_FILES = 16  # that it lists
TRANSCRIPT_BYTES = 64 * 2**20  # of a transcript file
CUES = 500_000  # entries of a transcript file

# Durations that a speech recognizer may tell, in s; longer ones are as good as none.
TOLD_SECONDS = 3600.0


def shown(text: object) -> str:
    """A text from outside as an error or a log shows it: quoted, at most `SHOWN` characters."""
    whole = text if isinstance(text, str) else str(text)
    if len(whole) <= SHOWN:
        return repr(whole)
    return f"{whole[:SHOWN]!r}... ({len(whole)} characters)"
