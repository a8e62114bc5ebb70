"""`erc evaluate`: compare recordings with annotations; write scores, files and a report.

The former name, `erc evaluate-bag`, is an alias.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from erc_ros.annotations.agreement import ADJUDICATED
from erc_ros.annotations.marks import AnnotationError
from erc_ros.annotations.records import TierReading
from erc_ros.annotations.suggestion import suggest
from erc_ros.evaluation.agreement_command import in_words, with_model
from erc_ros.evaluation.exports import (
    FORMATS,
    check_formats,
    write_bag,
    write_exports,
    write_media,
)
from erc_ros.evaluation.jobs import Annotator, EvaluationJob, check
from erc_ros.evaluation.many import Kept, cache_folder, run
from erc_ros.evaluation.methods import write_methods
from erc_ros.evaluation.metric import load_metrics
from erc_ros.evaluation.recordings import assign_truth, find_bags
from erc_ros.evaluation.records import Recording, Scores, SystemScores
from erc_ros.evaluation.results import (
    headline,
    notices,
    reading_in_words,
    summary,
    write_scores,
)
from erc_ros.evaluation.run import EvaluatedSystem, parse_time
from erc_ros.evaluation.scores import (
    OVER_BLOCKS,
    RESAMPLES,
    SEED,
    evaluate,
)
from erc_ros.evaluation.study import (
    Study,
    compare_conditions,
    condition_lines,
    participant_rows,
    read_study,
    utterance_rows,
    write_rows,
)
from erc_ros.evaluation.tally import COLLAR, ScoredConversation, conversations
from erc_ros.evaluation.transcripts import cues_for
from erc_ros.media.files import MediaError
from erc_ros.media.options import (
    private_option,
    recording_options,
    topics_of,
    transcript_options,
)
from erc_ros.metrics.classification import MIN_CONVERSATIONS
from erc_ros.parameters import robot_config
from erc_ros.replay import provenance
from erc_ros.replay.bag import BagError
from erc_ros.replay.part import TimeRange
from erc_ros.replay.progress import progress_bar
from erc_ros.values.files import check_folder, write_whole
from erc_ros.values.nanoseconds import NS

MAX_LINES = 40  # lines on the console about how annotations are read
PRINTED = ("accuracy", "unweighted_recall", "kappa", "coverage", "teer", "der")
"""Figures that are printed on the console."""


def main(argv: Sequence[str]) -> int:
    """Return the exit status: 0, or 1 if a recording could not be evaluated.

    Raises:
        ValueError, OSError: an option, a recording or the annotations cannot be used.
    """
    options = _parser().parse_args(argv)
    import erc_ros.evaluation.report  # noqa: F401  (a missing extra is reported before the work)

    systems = _systems(options)
    # a mistake in a model package concerns all recordings
    labels = {system.name: system.bundle().labels for system in systems}
    if options.suggest_tiers:
        return _suggest(options.suggest_tiers, labels[systems[0].name], options.tiers)
    if not options.bags:
        raise ValueError("give a recording: a rosbag2, a media file, or a folder of them")
    bags = find_bags(options.bags)
    load_metrics(options.metric)
    check_formats(options.export)
    study = None
    if options.study is not None:
        study, others = read_study(options.study, list(bags))
        if others:
            _warn(f"{options.study.name} has no line for {_some(others)}")
    if options.transcript is not None and len(bags) > 1:
        raise ValueError(
            "--transcript is for one recording; of several, put NAME.srt or NAME.vtt next to each"
        )
    out: Path = options.out or Path("out") / f"evaluation-{next(iter(bags))}"
    check_folder(out)
    if not options.overwrite:
        _check_out(out, bags)
    for name, bag in bags.items():
        try:
            cues_for(
                bag,
                options.transcript,
                lambda text: print(text, file=sys.stderr),
                options.recognizer or "",
            )
        except MediaError as error:  # the others can be evaluated
            if len(bags) == 1:
                raise
            _warn(f"{name}: {error}")
    jobs = _jobs(options, bags, systems)
    _check(jobs, labels)
    began = time.perf_counter()
    with _cache(options) as cache:
        with progress_bar(len(jobs), "recordings") as watch:
            kept = run(jobs, cache, options.workers, watch)
        files, failed = _write(kept, systems, out, options, study)
    names = _names(out, files)
    timing = {
        "jobs": len(jobs),
        "wall_s": round(time.perf_counter() - began, 3),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["erc", "evaluate", *argv]),
        "files": names,
    }
    _delete_former(out, names)
    write_whole(out / "timing.json", json.dumps(timing) + "\n")
    print("\n".join(f"  {file}" for file in files))
    print(f"report: {out / 'report.html'}")
    return 1 if failed else 0


def _suggest(files: Sequence[Path], labels: Sequence[str], tiers: Path | None) -> int:
    """Write or print a draft of what the tiers of annotations mean."""
    own, _ = assign_truth(["recording"], files)
    text = suggest(own["recording"], labels)
    if tiers is None:
        print(text, end="")
        return 0
    if tiers.exists():
        raise ValueError(f"{tiers} exists already: move it, or choose another name")
    write_whole(tiers, text)
    print(f"draft: {tiers}")
    return 0


def _check_out(out: Path, bags: Mapping[str, Path]) -> None:
    """Check that a folder does not hold the results of other recordings.

    Raises:
        ValueError: it does.
    """
    try:
        scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
        names = {each["name"] for each in scores["recordings"]}
        digests = scores["provenance"]["recordings_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # empty, or without results of this command
    same = names == set(bags) and digests == provenance.digests(bags.values())
    if not same:
        raise ValueError(
            f"{out} holds the results of other recordings ({_some(sorted(names))}): choose another "
            "folder with --out, or give --overwrite"
        )


def _names(out: Path, files: Sequence[Path]) -> list[str]:
    """Return the files of a run, with those in folders, relative to its folder."""
    inside = (each for path in files if path.is_dir() for each in path.rglob("*"))
    media = (each for suffix in (".ogg", ".jpg") for each in out.rglob(f"report_media/*{suffix}"))
    paths = {path for path in (*files, *inside, *media) if path.is_file()}
    return sorted(str(path.relative_to(out)) for path in paths)


def _delete_former(out: Path, names: Sequence[str]) -> None:
    """Delete the files of the former run that this run did not write and no user changed."""
    timing = out / "timing.json"
    try:
        former = set(map(str, json.loads(timing.read_text(encoding="utf-8"))["files"]))
        written = timing.stat().st_mtime_ns  # after all files of that run
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in former - set(names):
        file = out / name
        is_inside = out.resolve() in file.resolve().parents
        if is_inside and file.is_file() and file.stat().st_mtime_ns <= written:
            file.unlink()
            with suppress(OSError):  # the folder holds other files
                file.parent.rmdir()


@contextmanager
def _cache(options: argparse.Namespace) -> Iterator[Path]:
    """Return the folder of cached predictions; a temporary one if they are not to be stored."""
    cache = None
    if options.cache not in (None, "none"):
        cache = Path(options.cache)
    elif options.cache is None:
        try:
            cache = cache_folder()
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        except (OSError, RuntimeError) as error:  # such as a read-only home
            cache = None
            _warn(f"predictions are not cached ({error}); choose a folder with --cache")
    if cache is None or options.no_text:  # the cache contains words
        with tempfile.TemporaryDirectory(prefix="erc-evaluate-") as folder:
            yield Path(folder)
    else:
        yield cache


def _jobs(
    options: argparse.Namespace, bags: Mapping[str, Path], systems: Sequence[EvaluatedSystem]
) -> list[EvaluationJob]:
    annotators = _annotators(options)
    own, shared = assign_truth(list(bags), [] if annotators else options.truth or [])
    assigned = {name: assign_truth(list(bags), files) for name, (files, _) in annotators.items()}
    return [
        EvaluationJob(
            name,
            bag,
            system,
            own[name],
            shared,
            options.labels,
            options.tiers,
            topics=topics_of(options),
            part=TimeRange.of_seconds(options.start, options.end),
            offset=_offset(options),
            with_media=not options.no_media,
            transcript=options.transcript,
            recognizer=options.recognizer or "",
            language=options.language,
            annotators=tuple(
                Annotator(annotator, files[name], all_files, annotators[annotator][1])
                for annotator, (files, all_files) in assigned.items()
            ),
        )
        for name, bag in bags.items()
        for system in systems
    ]


def _annotators(options: argparse.Namespace) -> dict[str, tuple[list[Path], int]]:
    """Return name -> (files, offset in ns) of `--truth NAME=FILE`; empty for `--truth FILE`.

    Raises:
        ValueError: both forms are used, only one annotator is named, or an offset is of another.
    """
    named: dict[str, list[Path]] = {}
    plain = []
    for path in options.truth or []:
        name, equals, file = str(path).partition("=")
        if equals and name and not path.exists():
            named.setdefault(name, []).append(Path(file))
        else:
            plain.append(path)
    offsets = dict(each.split("=", 1) for each in options.offset if "=" in each)
    if unknown := set(offsets) - set(named):
        raise ValueError(f"--offset {min(unknown)}=...: --truth names {', '.join(named) or 'none'}")
    if named and plain:
        raise ValueError(f"--truth {plain[0]}: every file requires its annotator, as NAME=FILE")
    if named and len(set(named) - {ADJUDICATED}) < 2:
        raise ValueError("--truth NAME=FILE is for several annotators; give FILE for one")
    return {
        name: (
            files,
            parse_time("--offset", offsets[name]) if name in offsets else _offset(options),
        )
        for name, files in named.items()
    }


def _offset(options: argparse.Namespace) -> int:
    """Return the offset of all annotations in ns."""
    texts = [each for each in options.offset if "=" not in each]
    return parse_time("--offset", texts[-1]) if texts else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="erc evaluate",
        description="Estimates of recordings, compared with annotations: scores, files for other "
        "programs, and a report.",
        epilog="The folder of a finished training in place of recordings: see `erc evaluate-run`.",
    )
    parser.add_argument(
        "bags",
        nargs="*",
        type=Path,
        metavar="BAG",
        help="rosbag2 folders or files, media files, or a folder of them",
    )
    transcript_options(parser)
    private_option(parser)
    recording_options(parser)
    parser.add_argument(
        "--truth",
        nargs="+",
        action="extend",
        type=Path,
        metavar="[NAME=]FILE",
        help="annotations: .eaf .TextGrid .rttm .csv .stm .json .txt, or a folder of them; of "
        "several recordings NAME.* belongs to NAME; of several annotators RA1=FILE RA2=FILE",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="YAML", help="meaning of annotated labels (happy: joy)"
    )
    parser.add_argument(
        "--tiers", type=Path, metavar="YAML", help="meaning of tiers (P1-Emo: emotion@Anna)"
    )
    parser.add_argument(
        "--suggest-tiers",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="only print a draft for --tiers of these annotations, or write it to --tiers",
    )
    parser.add_argument(
        "--study",
        type=Path,
        metavar="CSV",
        help="columns recording, participant and any of session, condition, order, speaker: "
        "figures for each participant and condition, and tests between conditions",
    )
    parser.add_argument(
        "--offset",
        action="append",
        default=[],
        metavar="[NAME=]S",
        help="s added to the times of the annotations, of all or of one annotator",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the results; default out/evaluation-BAG"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the results of other recordings in OUT"
    )
    parser.add_argument(
        "--cache",
        metavar="FOLDER",
        help="folder of cached predictions; default ~/.cache/erc_ros; none: store nothing",
    )
    parser.add_argument(
        "--bundle", action="append", help="model package; give it twice to compare two"
    )
    parser.add_argument(
        "--params-file",
        action="append",
        type=Path,
        metavar="YAML",
        help="ROS parameters of the nodes; give it twice to compare two",
    )
    parser.add_argument(
        "--export",
        nargs="*",
        default=list(FORMATS),
        metavar="FORMAT",
        help=f"files for other programs; default: {' '.join(FORMATS)}; or a class of another "
        "package",
    )
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="also compute a metric of another package: an entry point, or module:Class",
    )
    parser.add_argument(
        "--write-media",
        action="store_true",
        help="write WAV and MP4 of the recording, for ELAN and the report",
    )
    parser.add_argument(
        "--write-bag",
        action="store_true",
        help="write a rosbag2 of the estimates and a Foxglove layout",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")
    return parser


def _systems(options: argparse.Namespace) -> list[EvaluatedSystem]:
    """Return one system, or the two systems to compare."""
    bundles, files = options.bundle or [None], options.params_file or [None]
    if len(bundles) > 2 or len(files) > 2 or len(bundles) == len(files) == 2:
        raise ValueError("two bundles or two parameter files can be compared, not more at once")
    systems = []
    for file in files:
        robot = robot_config(file, speaker_model=options.speaker_model, tuning_file=options.tuning)
        for bundle in bundles:
            chosen = robot if bundle is None else robot.changed(bundle=bundle)
            name = chosen.emotion_node.recognition.bundle if len(files) == 1 else str(file.stem)
            systems.append(EvaluatedSystem(Path(name).name, chosen))
    if len({system.name for system in systems}) < len(systems):
        raise ValueError(f"two systems have the name {systems[0].name}: rename a folder or file")
    return systems


def _check(jobs: Sequence[EvaluationJob], labels: Mapping[str, Sequence[str]]) -> None:
    """Check all annotations before the long computation, and print how they are read.

    Raises:
        AnnotationError: annotations that cannot be used, of any recording.
        BagError: a part that is not in any recording.
    """
    readings: list[TierReading] = []
    errors: dict[str, Exception] = {}
    annotated: dict[str, bool] = {}
    for job in jobs:
        try:
            own = check(job, labels[job.system.name])
        except (AnnotationError, BagError) as error:
            errors.setdefault(f"{job.name}: {error}" if len(jobs) > 1 else str(error), error)
            continue
        if job.name not in annotated:
            readings += own
        annotated[job.name] = bool(own)
    wrong = [text for text, error in errors.items() if isinstance(error, AnnotationError)]
    if wrong:
        raise AnnotationError("\n".join(wrong))
    if errors and not annotated:
        raise BagError("\n".join(errors))
    if readings:
        print("How the annotations are read:")
        print("\n".join(f"  {line}" for line in _readings(readings)))
        without = [name for name, has in annotated.items() if not has]
        if without:
            _warn(f"no annotations for {_some(without)}: not scored")


def _readings(readings: Sequence[TierReading]) -> list[str]:
    """Return a line for each tier; tiers that are read equally in several files share a line."""
    groups: dict[tuple[str, str], list[TierReading]] = {}
    for reading in readings:
        groups.setdefault((reading.tier, reading_in_words(reading)), []).append(reading)
    lines = []
    for (tier, words), group in groups.items():
        files = {reading.file for reading in group}
        place = group[0].file if len(files) == 1 else f"{len(files)} files"
        count = sum(reading.annotations for reading in group)
        name = f"{place}, tier {tier!r}" if tier else place
        lines.append(f"{name}: {count} annotations -> {words}")
    return lines if len(lines) <= MAX_LINES else [*lines[:MAX_LINES], "... (see scores.json)"]


def _some(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _report(scores: SystemScores, sentence: str) -> str:
    """Format the result of a system for the console."""
    figures = [
        f"{name.replace('_', ' ')} {figure.value:.3f}"
        + (f" of {figure.n:g} scored" if name == "accuracy" else "")
        for name in PRINTED
        if (figure := scores.figures.get(name)) is not None and figure.value is not None
    ]
    return f"{scores.system}: {sentence}" + (f"\n  {', '.join(figures)}" if figures else "")


# --- output files ---


def _write(
    kept: Sequence[Kept],
    systems: Sequence[EvaluatedSystem],
    out: Path,
    options: argparse.Namespace,
    study: Study | None,
) -> tuple[list[Path], int]:
    """Write all results; return the files and the number of recordings that failed."""
    from erc_ros.evaluation.pictures import score_pictures, timeline, write_figures

    own: dict[str, list[ScoredConversation]] = {system.name: [] for system in systems}
    labels = {system.name: system.bundle().labels for system in systems}
    summaries, failed, shown = [], 0, []
    people: dict[str, list[Recording]] = {system.name: [] for system in systems}
    for each in kept:
        recording = each.load()
        if not recording.error:
            own[recording.system] += conversations(recording)
            if recording.annotators:
                people[recording.system].append(recording)
        else:
            failed += 1
            print(f"erc evaluate: {recording.name}: {recording.error}", file=sys.stderr)
        summaries.append(summary(recording))
        shown.append(_shown(recording, options.no_text, with_media=len(kept) <= len(systems)))
    if failed == len(kept):
        raise ValueError("no recording could be evaluated")
    metrics = load_metrics(options.metric)
    scores = evaluate(
        {name: (labels[name], each) for name, each in own.items()},
        _settings(options),
        metrics,
        study.groups() if study else None,
    )
    rows = utterance_rows(shown, study)
    means = participant_rows(rows)
    conditions = compare_conditions(means)
    for text, names in _by_notice(shown).items():
        _warn(text if len(shown) == 1 else f"{_some(names)}: {text}")
    made_with = _provenance(kept, systems, options)
    agreed = {name: with_model(each) for name, each in people.items() if each}
    sentences = {
        each.system: headline(each, shown, agreed.get(each.system)) for each in scores.systems
    }
    for system in scores.systems:
        print(_report(system, sentences[system.system]))
        if system.system in agreed:
            print(f"  {in_words(system.system, agreed[system.system])}")
        for line in condition_lines(conditions.get(system.system, [])):
            print(f"  {line}")
    files = write_scores(scores, summaries, out, made_with, agreed, sentences, conditions)
    files += write_methods(scores, summaries, made_with, out, agreed, conditions)
    files.append(write_rows(rows, out / "utterances.csv"))
    if means:
        files.append(write_rows(means, out / "participants.csv"))
    pictures = score_pictures(scores.systems)
    timelines = [timeline(each) for each in shown if not each.error and len(kept) == 1]
    files += write_figures([*pictures, *timelines], out / "figures")
    files += _reports(kept, shown, scores, out, options, made_with, agreed, conditions)
    return files, failed


def _by_notice(recordings: Sequence[Recording]) -> dict[str, list[str]]:
    """Return notice -> names of the recordings with this notice."""
    by_notice: dict[str, list[str]] = {}
    for recording in recordings:
        for text in notices(recording):
            names = by_notice.setdefault(text, [])
            if recording.name not in names:
                names.append(recording.name)
    return by_notice


def _reports(
    kept: Sequence[Kept],
    shown: Sequence[Recording],
    scores: Scores,
    out: Path,
    options: argparse.Namespace,
    made_with: Mapping[str, Any],
    agreed: Mapping[str, Any],
    conditions: Mapping[str, Any],
) -> list[Path]:
    """Write a report of all recordings; of several, also one each, with audio and faces."""
    from erc_ros.evaluation.report import write_report

    with_text, with_media = not options.no_text, not options.no_media
    usable = [recording for recording in shown if not recording.error]
    names = list(dict.fromkeys(recording.name for recording in usable))
    if len(names) == 1:
        files, sounds = _exports(kept, usable, out, options)
        report = write_report(usable, scores, out, with_text, with_media, sounds, made_with, agreed)
        return [report, *files]
    files = [
        write_report(usable, scores, out, with_text, False, None, made_with, agreed, conditions)
    ]
    for name in names:
        loaded = [each.load() for each in kept if each.job.name == name]
        loaded = [recording for recording in loaded if not recording.error]
        own = [_shown(recording, options.no_text) for recording in loaded]
        predicted = {r.system: (r.labels, conversations(r)) for r in loaded}
        exported, sounds = _exports(kept, own, out / name, options)
        alone = evaluate(predicted, scores.settings, load_metrics(options.metric))
        files.append(write_report(own, alone, out / name, with_text, with_media, sounds, made_with))
        files += exported
    return files


def _exports(
    kept: Sequence[Kept], recordings: Sequence[Recording], out: Path, options: argparse.Namespace
) -> tuple[list[Path], dict[str, Path]]:
    """Write files for other programs; return them and recording name -> audio file."""
    files: list[Path] = []
    sounds: dict[str, Path] = {}
    for recording in recordings:
        name = recording.name
        job = next(
            each.job
            for each in kept
            if (each.job.name, each.job.system.name) == (name, recording.system)
        )
        media: list[Path] = []
        if options.write_media and not options.no_media:
            media = write_media(
                job.bag, dict(job.topics), recording.origin, out, name, job.system.robot
            )
            sounds.update((name, file) for file in media if file.suffix == ".wav")
        several = len({each.system for each in recordings}) > 1
        stem = f"{name}.{recording.system}" if several else name
        with_text = not options.no_text
        formats = options.export
        files += media
        files += write_exports(
            recording, out, stem, media=media, formats=formats, with_text=with_text
        )
        if options.write_bag:
            bag, sound = out / f"{stem}.bag", sounds.get(name)
            files.append(
                write_bag(recording, bag, prefix="/evaluation", with_text=with_text, sound=sound)
            )
    return list(dict.fromkeys(files)), sounds


def _shown(recording: Recording, no_text: bool, with_media: bool = True) -> Recording:
    """Return the recording without the words and media that the report must not show."""
    predictions, truth = recording.predictions, recording.truth
    if no_text:
        predictions = tuple(replace(each, text="") for each in predictions)
        if truth is not None:
            truth = replace(truth, segments=tuple(replace(s, text=None) for s in truth.segments))
    if not with_media:
        predictions = tuple(replace(each, audio=None, face=None) for each in predictions)
    return replace(recording, predictions=predictions, truth=truth)


def _provenance(
    kept: Sequence[Kept], systems: Sequence[EvaluatedSystem], options: argparse.Namespace
) -> dict[str, Any]:
    """Return versions, hashes and options; equal for equal inputs (the date is in timing.json)."""
    jobs = [each.job for each in kept]
    annotations = dict.fromkeys(
        path
        for job in jobs
        for each in (Annotator("", job.truth, job.shared), *job.annotators)
        for path in (*each.files, *each.shared)
    )
    return {
        **provenance.software(),
        "systems": {
            system.name: {
                **provenance.models(system.robot),
                "changed_parameters": provenance.changed_parameters(system.robot),
            }
            for system in systems
        },
        "recordings_sha256": provenance.digests(dict.fromkeys(job.bag for job in jobs)),
        "annotations_sha256": provenance.digests(annotations),
        "label_map_sha256": provenance.digests(
            file for file in (options.labels, options.tiers, options.study) if file is not None
        ),
        "bootstrap": {"seed": SEED, "draws": RESAMPLES},
    }


def _settings(options: argparse.Namespace) -> dict[str, str]:
    end = "the end" if options.end is None else f"{options.end:g} s"
    return {
        "collar": f"{COLLAR / NS:g} s on each side of annotated boundaries, overlap counted",
        "intervals": "95 %, bootstrap over conversations; of fewer than "
        f"{MIN_CONVERSATIONS}, over {OVER_BLOCKS}",
        "label map": options.labels.name if options.labels is not None else "none",
        "tiers": options.tiers.name if options.tiers is not None else "by their names",
        "matching": "greatest overlap, at least half of the shorter one",
        "offset of the annotations": ", ".join(f"{each} s" for each in options.offset) or "0 s",
        "part": f"{options.start:g} s to {end}",
    }
