"""Evaluation on recordings of real conversations: speakers, words, faces and estimates.

    python -m benchmarks.real_people CLIPS

CLIPS contains some of these files of public repositories: debate.mp4 and
debate_output_tidy.csv (n400peanuts/mexcaR, data), billhyland.mp4 (kugelblitz779/AzureVideoIndexer),
audio/ (pyannote/pyannote-data) and bags/ (ros4hri/hri_engagement, test/_obsolete_tests). Writes
benchmarks/results/real_people.json.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from benchmarks.record import ROOT, write_results
from erc_ros.evaluation.transcripts import recognizer_for
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.estimate import Estimate
from erc_ros.input_reader import TICK
from erc_ros.media.files import MAX_SIDE, ORIGIN, MediaFile
from erc_ros.media.transcripts import Cue
from erc_ros.parameters import RobotConfig
from erc_ros.pipeline import EstimateEvent, Pipeline
from erc_ros.replay.bag import Bag, BagError
from erc_ros.replay.offline import heard_topics
from erc_ros.replay.recording import open_recording
from erc_ros.resources import model_folder
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.nanoseconds import NS, seconds

ANNOTATIONS = ROOT / "benchmarks" / "annotations"
COLLAR = 0.5  # s, 0.25 on each side of a boundary
BUNDLE = "edge-small"


@dataclass
class Output:
    """Output of the pipeline for a clip.

    speaker: utterance -> speaker after corrections. faces: (stamp in ns, track) -> x of the center
    in pixels.
    """

    duration: float
    estimates: dict[str, Estimate] = field(default_factory=dict)
    speaker: dict[str, str] = field(default_factory=dict)
    faces: dict[tuple[int, str], float] = field(default_factory=dict)

    def speakers(self) -> Annotation:
        """Return the speakers of the utterances after corrections as an annotation."""
        annotation = Annotation()
        for number, each in enumerate(self.estimates.values()):
            said = each.utterance
            speaker = self.speaker[said.utterance_id]
            if speaker and said.end > said.start:
                span = Segment((said.start - ORIGIN) / NS, (said.end - ORIGIN) / NS)
                annotation[span, number] = speaker
        return annotation


def run(path: Path, cues: Sequence[Cue] = (), recognizer: str = "") -> Output:
    """Process a clip by the pipeline with default parameters."""
    robot = RobotConfig().changed(bundle=BUNDLE)
    rate = robot.utterance_node.perception.face_rate
    with (
        Pipeline(robot.pipeline) as pipeline,
        open_recording(path, cues, rate, recognizer_for(recognizer)) as recording,
    ):
        output = Output((recording.span[1] - recording.span[0]) / NS)
        topics = heard_topics(recording, {}, robot.utterance_node, Counter())
        names = {topic.name for each in topics.values() for topic in each}
        tick = ORIGIN
        for record in recording.messages(names):
            while tick <= record.time:
                _keep(output, pipeline, pipeline.advance(tick))
                tick += TICK
            if record.message is not None:
                _keep(output, pipeline, pipeline.feed(record.message))
        _keep(output, pipeline, pipeline.flush())
    return output


def _keep(output: Output, pipeline: Pipeline, events: Iterable[Any]) -> None:
    for event in events:
        if isinstance(event, EstimateEvent) and event.estimate.is_final:
            said = event.estimate.utterance
            output.estimates[said.utterance_id] = event.estimate
            output.speaker[said.utterance_id] = said.speaker_id
        elif isinstance(event, SpeakerCorrected):
            output.speaker.update(dict.fromkeys(event.utterance_ids, event.after))
    for face in pipeline.perception.faces:
        output.faces[face.stamp, face.track_id] = face.box.x + face.box.width / 2


# --- annotations ---


@dataclass(frozen=True)
class Line:
    """One line of an annotation; times in s."""

    start: float
    end: float
    speaker: str
    uncertain: bool
    text: str


def read_lines(name: str) -> list[Line]:
    """Read the lines of `ANNOTATIONS/NAME.csv`."""
    with (ANNOTATIONS / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        return [
            Line(
                float(row["start"]),
                float(row["end"]),
                row["speaker"],
                bool(row["uncertain"]),
                row["text"],
            )
            for row in csv.DictReader(stream)
        ]


def read_shots(name: str) -> list[dict[str, str]]:
    """Read the persons on the left and right side by time."""
    with (ANNOTATIONS / f"{name}_faces.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def reference(lines: Sequence[Line]) -> Annotation:
    annotation = Annotation()
    for number, line in enumerate(lines):
        annotation[Segment(line.start, line.end), number] = line.speaker
    return annotation


def scored(lines: Sequence[Line], duration: float) -> Timeline:
    """Return the scored parts of a clip, without uncertain spans."""
    uncertain = Timeline([Segment(line.start, line.end) for line in lines if line.uncertain])
    return uncertain.gaps(support=Segment(0, duration))


# --- figures ---


def error_rate(
    truth: Annotation, hypothesis: Annotation, part: Timeline
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the diarization errors, and hypothesis speaker -> annotated speaker."""
    metric = DiarizationErrorRate(collar=COLLAR, skip_overlap=False)
    detail = metric(truth, hypothesis, uem=part, detailed=True)
    total = detail["total"] or math.nan
    figures = {
        "speakers": len(truth.labels()),
        "speakers_found": len(hypothesis.labels()),
        "der": 100 * detail["diarization error rate"],
        "missed": 100 * detail["missed detection"] / total,
        "false_alarm": 100 * detail["false alarm"] / total,
        "confusion": 100 * detail["confusion"] / total,
    }
    return figures, metric.optimal_mapping(truth, hypothesis, uem=part)


def words(lines: Sequence[Line], output: Output, mapping: dict[str, str]) -> dict[str, float]:
    """Return the share of annotated words that were published, and with the right speaker."""
    expected = [(w.lower(), line.speaker) for line in lines for w in line.text.split()]
    ordered = sorted(output.estimates.values(), key=lambda e: e.utterance.start)
    got = [
        (w.lower().strip(".,?!"), mapping.get(output.speaker[each.utterance.utterance_id], ""))
        for each in ordered
        for w in each.utterance.text.split()
    ]
    matcher = SequenceMatcher(None, [w for w, _ in expected], [w for w, _ in got], autojunk=False)
    pairs = [(m.a + k, m.b + k) for m in matcher.get_matching_blocks() for k in range(m.size)]
    right = sum(expected[a][1] == got[b][1] for a, b in pairs)
    return {"words": len(expected), "words_out": len(pairs), "words_right_speaker": right}


def speaking_faces(
    lines: Sequence[Line],
    shots: Sequence[dict[str, str]],
    output: Output,
    width: float,
) -> dict[str, float]:
    """Return the share of utterances with the face of the annotated speaker."""
    right = chosen = visible = 0
    for each in output.estimates.values():
        said = each.utterance
        start, end = (said.start - ORIGIN) / NS, (said.end - ORIGIN) / NS
        shares = Counter[str]()
        for line in lines:
            shares[line.speaker] += max(0.0, min(end, line.end) - max(start, line.start))
        if not shares or not shares.most_common(1)[0][1]:
            continue
        speaker = shares.most_common(1)[0][0]
        visible += any(
            speaker in (shot["left"], shot["right"])
            and min(end, float(shot["end"])) - max(start, float(shot["start"])) > 0.2
            for shot in shots
        )
        people = Counter[str]()
        for (stamp, track), x in output.faces.items():
            if track == said.face_id and said.start <= stamp <= said.end:
                time = (stamp - ORIGIN) / NS
                side = "left" if x < width / 2 else "right"
                people.update(s[side] for s in shots if float(s["start"]) <= time < float(s["end"]))
        if people:
            chosen += 1
            right += people.most_common(1)[0][0] == speaker
    stamps = {stamp for stamp, _ in output.faces}
    return {
        "utterances": len(output.estimates),
        "speaker_in_view": visible,
        "with_face": chosen,
        "face_of_speaker": right,
        "faces_per_second": len(output.faces) / output.duration,
        "images_with_faces_per_second": len(stamps) / output.duration,
    }


def film(path: Path, name: str, cues: Sequence[Cue], recognizer: str) -> dict[str, Any]:
    """Return all results for an annotated film."""
    lines, shots = read_lines(name), read_shots(name)
    output = run(path, cues, recognizer)
    figures, mapping = error_rate(
        reference(lines), output.speakers(), scored(lines, output.duration)
    )
    result: dict[str, Any] = {**figures, **speaking_faces(lines, shots, output, _width(path))}
    if any(line.text for line in lines) and (cues or recognizer):
        result.update(words(lines, output, mapping))
    result["labels"] = dict(Counter(e.label or "unknown" for e in output.estimates.values()))
    for each in sorted(output.estimates.values(), key=lambda e: e.utterance.start):
        said = each.utterance
        print(
            f"  {(said.start - ORIGIN) / NS:6.2f} {(said.end - ORIGIN) / NS:6.2f} "
            f"{mapping.get(output.speaker[said.utterance_id], '-'):3} {said.face_id:7} "
            f"{each.label or 'unknown':9} {said.text[:60]}"
        )
    return result


def _width(path: Path) -> float:
    """Return the width in pixels of the frames that the pipeline receives."""
    video = MediaFile(path).video
    assert video is not None
    scale = min(1.0, MAX_SIDE / max(video.width, video.height))
    return video.width * scale


def cues_of(lines: Sequence[Line]) -> list[Cue]:
    """Return the words of an annotation without speakers, to simulate a speech recognizer."""
    return [Cue(seconds(x.start), seconds(x.end), x.text) for x in lines if x.text]


def published(path: Path, lines: Sequence[Line], duration: float) -> dict[str, float]:
    """Score the published speaker segments of mexca for the debate."""
    hypothesis = Annotation()
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["speaker_id"]:
                span = Segment(float(row["segment_start"]), float(row["segment_end"]))
                hypothesis[span, row["segment_start"]] = row["speaker_id"]
    return error_rate(reference(lines), hypothesis, scored(lines, duration))[0]


def meetings(folder: Path) -> dict[str, Any]:
    """Return the results for the AMI excerpts, without words."""
    truths: dict[str, Annotation] = {}
    for file in sorted(folder.glob("*.rttm")):
        for line in file.read_text(encoding="utf-8").splitlines():
            fields = line.split()
            start, lasts = float(fields[3]), float(fields[4])
            truth = truths.setdefault(fields[1], Annotation())
            truth[Segment(start, start + lasts), len(truth)] = fields[7]
    each: dict[str, Any] = {}
    for name, truth in sorted(truths.items()):
        path = folder / f"{name}.wav"
        if not path.is_file():
            continue
        output = run(path)
        part = Timeline([Segment(0, output.duration)])
        each[name], _ = error_rate(truth, output.speakers(), part)
        print(name, {key: round(value, 1) for key, value in each[name].items()}, flush=True)
    mean = sum(figures["der"] for figures in each.values()) / max(1, len(each))
    return {"excerpts": len(each), "mean_der": mean, "each": each}


def bags(folder: Path) -> dict[str, Any]:
    """Return the results for bags of ROS4HRI topics: read messages and output of the command."""
    counts: Counter[str] = Counter()
    for metadata in sorted(folder.rglob("metadata.yaml")):
        counts["bags"] += 1
        try:
            with Bag(metadata.parent) as bag:
                counts["messages"] += sum(1 for _ in bag.messages({t.name for t in bag.topics}))
                counts["unreadable"] += sum(bag.warnings.values())
                heard_topics(bag, {}, RobotConfig().utterance_node, Counter())
                counts["analyzed"] += 1
        except BagError:
            counts["refused_without_audio_and_text"] += 1
    return dict(counts)


def main() -> None:
    """Evaluate all available clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    clips: Path = parser.parse_args().clips
    figures: dict[str, Any] = {}
    conditions = {"reference_words": "", "no_words": "", "pocketsphinx": "pocketsphinx"}
    for name in ("debate", "billhyland"):
        path = clips / f"{name}.mp4"
        lines = read_lines(name)
        for condition, recognizer in conditions.items():
            cues = cues_of(lines) if condition == "reference_words" else []
            if path.is_file() and (cues or condition != "reference_words"):
                print(name, condition)
                result = film(path, name, cues, recognizer)
                figures.setdefault(name, {})[condition] = result
    table = clips / "debate_output_tidy.csv"
    if table.is_file():
        figures["debate"]["mexca"] = published(table, read_lines("debate"), 29.44)
    if (clips / "audio").is_dir():
        figures["meetings"] = meetings(clips / "audio")
    if (clips / "bags").is_dir():
        figures["hri_engagement"] = bags(clips / "bags")
    write_results(
        "real_people",
        "python -m benchmarks.real_people CLIPS",
        load_bundle(model_folder(BUNDLE)),
        figures,
        "Public clips of real people, default parameters, one thread. Annotated by one person; "
        "uncertain spans are not scored. DER with a collar of 0.25 s on each side, overlap scored.",
    )


if __name__ == "__main__":
    main()
