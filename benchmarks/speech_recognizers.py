"""Word error rate of PocketSphinx on the clips of `asr_clips`.

    python -m benchmarks.speech_recognizers

Two clips have a reference: jfk.flac, and the English half of multilingual.mp3, in which the MIT
License is read. For the other two, only the number of words is counted. Data: $ERC_DATA. Writes
benchmarks/results/pocketsphinx.json.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from meeteval.wer.wer.siso import siso_word_error_rate

from benchmarks.record import write_results
from erc_ros.media.files import ORIGIN, MediaFile
from erc_ros.media.recognizers import RecognizedSpeech, load_recognizer
from erc_ros.media.transcripts import Cue
from erc_ros.training.datasets.folder import data_folder
from erc_ros.values.nanoseconds import NS

ENGLISH = 29.5  # s of multilingual.mp3, before German begins
REFERENCES = {
    "jfk.flac": "and so my fellow Americans ask not what your country can do for you ask what you "
    "can do for your country",
    "multilingual.mp3": "Permission is hereby granted, free of charge, to any person obtaining a "
    "copy of the software and associated documentation files to deal in the software without "
    "restriction, including without limitation the rights to use, copy, modify, merge, publish, "
    "distribute, sublicense, and or sell copies of the software, and to permit persons to whom the "
    "software is furnished to do so, subject to the following conditions. The above copyright "
    "notice and this permission notice shall be included in all copies or substantial portions of "
    "the software",
}


def recognized(path: Path) -> list[Cue]:
    """Transcribe a file with PocketSphinx."""
    speech = RecognizedSpeech(load_recognizer("pocketsphinx"))
    cues = [cue for chunk in MediaFile(path).chunks() for cue in speech.feed(chunk)]
    return cues + speech.flush()


def plain(text: str) -> str:
    """Convert a text to lower case without punctuation."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def main() -> None:
    """Transcribe all clips and write the results."""
    clips: dict[str, Any] = {}
    errors = words = 0
    for path in sorted((data_folder() / "asr_clips").iterdir()):
        if path.suffix == ".txt":
            continue
        cues = recognized(path)
        if path.name == "multilingual.mp3":
            cues = [cue for cue in cues if (cue.start - ORIGIN) / NS < ENGLISH]
        text = plain(" ".join(cue.text for cue in cues))
        clips[path.name] = {"words_recognized": len(text.split())}
        print(path.name, text)
        if path.name in REFERENCES:
            result = siso_word_error_rate(plain(REFERENCES[path.name]), text)
            clips[path.name] |= {
                "errors": result.errors,
                "words": result.length,
                "wer": 100 * result.error_rate,
            }
            errors, words = errors + result.errors, words + result.length
    write_results(
        "pocketsphinx",
        "python -m benchmarks.speech_recognizers",
        None,
        {"errors": errors, "words": words, "wer": 100 * errors / words, "clips": clips},
        f"pocketsphinx {version('pocketsphinx')} with the model of its wheel; 41 s of clear read "
        "English, two speakers.",
    )


if __name__ == "__main__":
    main()
