"""`erc annotate`: a first annotation from the pipeline's own estimates, to be corrected."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from erc_ros.evaluation.exports import write_lines, write_media
from erc_ros.evaluation.exports.elan import write_template
from erc_ros.evaluation.exports.lines import Line, lines_of_predictions
from erc_ros.evaluation.jobs import EvaluationJob, evaluate
from erc_ros.evaluation.run import EvaluatedSystem
from erc_ros.evaluation.transcripts import cues_for
from erc_ros.media.options import (
    private_option,
    recording_options,
    topics_of,
    transcript_options,
)
from erc_ros.parameters import robot_config
from erc_ros.replay.bag import BagError
from erc_ros.replay.part import TimeRange
from erc_ros.replay.progress import progress_bar
from erc_ros.replay.recording import recording_name
from erc_ros.values.files import check_folder

SUFFIXES = {"eaf": ".eaf", "textgrid": ".TextGrid", "csv": ".csv"}


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status.

    Raises:
        ValueError, OSError: the recording, the models or the folder cannot be used, or an
            annotation exists already.
    """
    options = _parser().parse_args(argv)
    robot = robot_config(
        options.params_file,
        bundle=options.bundle,
        speaker_model=options.speaker_model,
        tuning_file=options.tuning,
    )
    system = EvaluatedSystem(Path(robot.emotion_node.recognition.bundle).name, robot)
    if options.template is not None:
        print(write_template(options.template, system.bundle().labels, options.speakers))
        return 0
    if options.bag is None:
        raise ValueError("give a recording, or --template")
    name = recording_name(options.bag)
    folder: Path = options.out or Path("out") / f"{name}-annotation"
    file = folder / f"{name}{SUFFIXES[options.format]}"
    if file.exists() and not options.overwrite:
        raise ValueError(
            f"{file} exists already and may have been corrected: move it, choose another folder "
            "with --out, or give --overwrite"
        )
    check_folder(folder)
    topics = topics_of(options)
    cues_for(options.bag, options.transcript, _say, options.recognizer or "")
    job = EvaluationJob(
        name,
        options.bag,
        system,
        topics=topics,
        part=TimeRange.of_seconds(options.start, options.end),
        with_media=False,
        transcript=options.transcript,
        recognizer=options.recognizer or "",
        language=options.language,
    )
    with progress_bar() as watch:
        recording = evaluate(job, watch)
        watch(1.0)
    if recording.error:
        raise BagError(recording.error)
    media: list[Path] = []
    if not options.no_media:
        media = write_media(options.bag, dict(topics), recording.origin, folder, name, robot)
    lines = [
        _suggested(line, not options.no_emotions)
        for line in lines_of_predictions(recording, not options.no_text)
    ]
    files = write_lines(recording, lines, folder, name, media=media, formats=[options.format])
    for text, count in sorted(recording.warnings.items()):
        print(f"warning: {text}" + (f" ({count} times)" if count > 1 else ""), file=sys.stderr)
    speakers = len({(each.conversation_id, each.speaker) for each in recording.predictions})
    unknown = sum(each.is_unknown for each in recording.predictions)
    print(
        f"{len(recording.predictions)} utterances, {speakers} speakers"
        + (f"; {unknown} unknown (confidence below min_confidence)" if unknown else "")
    )
    print("\n".join(f"  {each}" for each in [*files, *media]))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _suggested(line: Line, with_emotions: bool) -> Line:
    """Keep only the fields that an annotator checks; others would become ground truth unchecked."""
    line = replace(line, valence=None, arousal=None, probabilities=())
    return line if with_emotions else replace(line, emotion="", confidence=None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="erc annotate",
        description="A first annotation of a recording from the pipeline's own estimates, with "
        "audio and video for ELAN: correct it there, then give it to `erc evaluate --truth`.",
    )
    parser.add_argument(
        "bag", nargs="?", type=Path, help="rosbag2 folder, .mcap, .db3, or a media file"
    )
    parser.add_argument(
        "--template",
        type=Path,
        metavar="ETF",
        help="only write a template for ELAN: empty tiers, the model package's emotions",
    )
    parser.add_argument(
        "--speakers", nargs="+", default=["P1", "P2"], metavar="NAME", help="its speakers"
    )
    transcript_options(parser)
    private_option(parser)
    recording_options(parser)
    parser.add_argument("--out", type=Path, help="folder; default out/NAME-annotation")
    parser.add_argument(
        "--format", choices=tuple(SUFFIXES), default="eaf", help="ELAN (eaf), Praat, or a table"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing annotation")
    parser.add_argument(
        "--params-file", type=Path, metavar="YAML", help="the robot's ROS parameters"
    )
    parser.add_argument("--bundle", help="model package: a folder, or a name in models/")
    parser.add_argument(
        "--no-emotions",
        action="store_true",
        help="leave the emotions empty, because pre-filled labels bias annotators",
    )
    return parser
