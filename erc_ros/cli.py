"""The command `erc`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from erc_ros.sensing.background import SWITCH_INTERVAL
from erc_ros.values.errors import ErcValueError
from erc_ros.values.files import check_folder, explain

if TYPE_CHECKING:
    from erc_ros.parameters import RobotConfig
    from erc_ros.replay.report import Result
    from erc_ros.replay.rows import Row


Command = Callable[[Sequence[str]], int]


def _extra(name: str) -> str:
    return f"in the source tree, pip install '.[{name}]'"


_REPLAY = (
    f"{_extra('replay')}; on a ROS installation, where numpy and OpenCV are the system's, "
    "pip install --no-deps -r requirements/replay.txt"
)
_ROS = (
    "ROS 2: source its setup.bash, or install its wheels: in the source tree, "
    "pip install '.[ros]' ./interfaces"
)
# Missing module -> how to install it.
_EXTRAS = {
    "rosbags": _REPLAY,
    "matplotlib": _REPLAY,
    "espeakng_loader": _extra("demo"),
    **dict.fromkeys(("jinja2", "krippendorff", "tqdm"), _extra("evaluate")),
    "torch": _extra("train"),
    "transformers": _extra("train"),
    "onnx": _extra("engines"),
    "sklearn": _extra("train"),
    "soundfile": _extra("train"),
    **dict.fromkeys(("av", "defusedxml", "praatio", "pympi"), _extra("media")),
    "sounddevice": _extra("live"),
    "faster_whisper": _extra("whisper"),
    "pywhispercpp": _extra("whispercpp"),
    "vosk": _extra("vosk"),
    "pocketsphinx": _extra("pocketsphinx"),
    "accelerate": _extra("train"),
    "speakerlab": "pip install --no-deps --require-hashes -r requirements/weights.txt",
    "tensorboardX": _extra("train"),
    **dict.fromkeys(("onnxscript", "PIL", "safetensors"), _extra("train")),
    "scipy": _extra("evaluate"),
    "opensmile": _extra("opensmile"),
    **dict.fromkeys(
        (
            "ament_index_python",
            "builtin_interfaces",
            "diagnostic_msgs",
            "lifecycle_msgs",
            "rcl_interfaces",
            "rclpy",
            "rosgraph_msgs",
            "sensor_msgs",
            "std_msgs",
            "std_srvs",
            "visualization_msgs",
        ),
        _ROS,
    ),
    "audio_common_msgs": "the message package audio_common_msgs: with ROS 2, or ./interfaces",
    "erc_msgs": "the message package erc_msgs: colcon build, or pip install ./interfaces",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 1 for an error, 2 for wrong usage."""
    # Before NumPy is loaded: its matrix products are small here, and threads give no speed-up.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nor do images of 320 pixels: OpenCV's threads would take the core of the other networks.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        status = _main(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe, as in `erc ... | head`
        _discard(sys.stdout)
        return 1
    try:
        sys.stderr.flush()
    except OSError:  # the output cannot be written, but the results are
        _discard(sys.stderr)
    return status


def _discard(stream: TextIO) -> None:
    """Discard the buffer of `stream`, because Python's last flush would give exit status 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name in ("--version", "-V", "version"):
        print(_version())
        return 0
    if name not in _COMMANDS:
        print(
            f"erc: unknown command {name!r}{_meant(name)}\n`erc --help` lists the commands",
            file=sys.stderr,
        )
        return 2
    try:
        return _COMMANDS[name][0](rest)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "erc_ros"):
            raise
        remedy = _EXTRAS.get(package, f"pip install {package}")
        print(f"erc {name} needs {package}: {remedy}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"erc {name}: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _version() -> str:
    """Return the versions of the package and the default bundle, and the commit if known."""
    from erc_ros.inference.bundle import BundleError, read_manifest
    from erc_ros.parameters import RobotConfig
    from erc_ros.resources import commit, model_folder, package_version

    name = RobotConfig().emotion_node.recognition.bundle
    try:
        manifest = read_manifest(model_folder(name))
        bundle = f"{manifest.name} {manifest.version}"
    except (BundleError, FileNotFoundError):
        bundle = f"{name} (cannot be read)"
    of = f" (commit {commit()})" if commit() else ""
    return f"erc_ros {package_version()}{of}, bundle {bundle}"


def _meant(name: str) -> str:
    """Return a suggestion of similar commands; "" if there are none."""
    plain = name.lower().replace("_", "-").lstrip("-")
    near = [command for command in _COMMANDS if command.startswith(plain)] if plain else []
    near = near or get_close_matches(plain, _COMMANDS)
    near = near or ([_SYNONYMS[plain]] if plain in _SYNONYMS else [])
    near = near or get_close_matches(name.lower(), ("--help", "--version"))
    return f"; did you mean {' or '.join(near)}?" if near else ""


_SYNONYMS = {
    **dict.fromkeys(("analyze", "analyse", "transcribe", "predict", "process"), "replay"),
    **dict.fromkeys(("webcam", "camera", "microphone", "record"), "live"),
    **dict.fromkeys(("score", "report"), "evaluate"),
    **dict.fromkeys(("convert", "bag"), "import"),
    **dict.fromkeys(("bundles", "list"), "models"),
    "enroll": "enrol",
    "check": "doctor",
}
"""Alternative name -> command."""


def _usage() -> str:
    groups = []
    for title, names in _GROUPS.items():
        lines = (f"  {name:<19} {_COMMANDS[name][1]}" for name in names)
        groups.append("\n".join([f"{title}:", *lines]))
    return (
        "usage: erc COMMAND ...\n\n" + "\n\n".join(groups) + "\n\nexamples:\n"
        "  erc replay talk.mp4 --transcript talk.srt      estimates of a video\n"
        "  erc evaluate talk.mp4 --truth talk.eaf         scores and a report\n"
        "  erc run params_file:=robot.yaml                the nodes, without ros2 launch\n\n"
        "`erc COMMAND --help` lists the options, `erc --version` the versions."
    )


def _elsewhere(reference: str, explains: bool = True) -> Command:
    """Return a command in `module` or `module:function` of this package, loaded when it runs.

    explains: whether to report errors in one line; otherwise the module reports them.
    """
    module, _, function = reference.partition(":")

    def run(argv: Sequence[str]) -> int:
        def command() -> int:
            loaded = import_module(f"erc_ros.{module}")
            return int(getattr(loaded, function or "main")(list(argv)))

        return _explained(command) if explains else command()

    return run


def _evaluate(argv: Sequence[str]) -> int:
    """Evaluate recordings or finished trainings, depending on the content of the folders."""
    command = "evaluate-run" if any(map(_is_run, argv)) else "evaluate-bag"
    return _COMMANDS[command][0](argv)


_RUN = ("seed-*", "*/seed-*", "logits.npz", "history.json")  # in the folder of a training


def _is_run(argument: str) -> bool:
    folder = Path(argument)
    return folder.is_dir() and any(next(folder.glob(name), None) for name in _RUN)


def _robot_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--params-file", type=Path, help="the robot's ROS parameters, as for `ros2 launch`"
    )
    parser.add_argument("--tuning", metavar="YAML", help="internal settings: the `tuning_file`")
    parser.add_argument("--bundle", help="model package: a folder, or a name in models/")
    parser.add_argument(
        "--speaker-model",
        help="folder or name of the speaker network; none: no speaker diarization",
    )


def _replay(argv: Sequence[str]) -> int:
    from erc_ros.media.options import part_options, private_option, transcript_options

    parser = argparse.ArgumentParser(
        prog="erc replay",
        description="Estimates, counts and a timeline image from a recording: a rosbag2, or a "
        "video or audio file.",
        epilog="example: erc replay talk.mp4 --transcript talk.srt --out report",
    )
    parser.add_argument(
        "bag",
        metavar="recording",
        type=Path,
        help="video or audio file, session (.session.yaml), rosbag2 folder, .mcap or .db3",
    )
    transcript_options(parser)
    private_option(parser)
    part_options(parser)
    parser.add_argument("--out", type=Path, help="folder for the results; default out/NAME")
    for role in ("image", "audio", "speech"):
        parser.add_argument(f"--{role}", metavar="TOPIC", help=f"{role} topic; default: by type")
    _robot_options(parser)
    parser.add_argument("--no-text", action="store_true", help="no words in the output")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the results of another recording in OUT"
    )
    parser.add_argument(
        "--via-dds",
        action="store_true",
        help="play the recording through the ROS 2 nodes, in real time",
    )
    parser.add_argument(
        "--running-nodes",
        action="store_true",
        help="as --via-dds, through nodes that run already, with use_sim_time (demo.launch.py)",
    )
    parser.add_argument("--rate", type=float, default=1.0, help="speed, with --via-dds")
    options = parser.parse_args(argv)
    topics = {r: getattr(options, r) for r in ("image", "audio", "speech") if getattr(options, r)}
    from erc_ros.replay.recording import recording_name

    out = options.out or Path("out") / recording_name(options.bag)
    return _explained(lambda: _replay_to(options, topics, out))


def _replay_to(options: argparse.Namespace, topics: dict[str, str], out: Path) -> int:
    from erc_ros.evaluation.transcripts import cues_for, recognizer_for
    from erc_ros.replay.bag import Bag
    from erc_ros.replay.offline import replay
    from erc_ros.replay.part import PartOfRecording, TimeRange, check_part
    from erc_ros.replay.progress import ReportingRecording, progress_bar
    from erc_ros.replay.provenance import changed_parameters, digest, models, software
    from erc_ros.replay.recording import open_recording, recording_files
    from erc_ros.replay.report import check_out, name_of, write

    check_folder(out)
    part = TimeRange.of_seconds(options.start, options.end)
    robot = _robot(options)
    recognizer = recognizer_for(options.recognizer, options.language)
    cues = cues_for(options.bag, options.transcript, _say, options.recognizer or "")
    perception = robot.utterance_node.perception
    rate = perception.face_rate
    with open_recording(options.bag, cues, rate, recognizer, perception) as bag:
        check_part(bag, part)
        if not options.overwrite:
            check_out(out, bag)
        name = name_of(bag)
        if options.via_dds or options.running_nodes:
            if not isinstance(bag, Bag):
                raise ErcValueError("--via-dds plays a rosbag2; `erc import` makes one of a file")
            if recognizer is not None:
                raise ErcValueError("--via-dds plays the topics of the recording: no --recognizer")
            if part != TimeRange():
                raise ErcValueError("--via-dds plays the whole recording: no --from or --to")
            from erc_ros.replay.via_dds import play

            shown = _print_row(not options.no_text)
            result = play(bag, topics, robot, options.rate, shown, not options.running_nodes)
        else:
            with progress_bar() as progress:
                opened = PartOfRecording(ReportingRecording(bag, progress), part)
                result = replay(opened, topics, robot)
                origin = opened.origin or 0
                if opened.is_empty:
                    check_part(bag, part, (origin, opened.last))
                result.origin = origin
    made_with = {
        **software(),
        **models(robot),
        "changed_parameters": changed_parameters(robot),
        "recording_sha256": digest(*recording_files(options.bag)),
    }
    files = write(result, out, with_text=not options.no_text, recording=name, made_with=made_with)
    _print_end(result, files)
    return 0


def _live(argv: Sequence[str]) -> int:
    from erc_ros.live.command import add_options, run

    parser = argparse.ArgumentParser(
        prog="erc live",
        description="Emotions from the microphone and the camera of this machine, without ROS. "
        "Nothing is recorded without --record.",
    )
    add_options(parser)
    _robot_options(parser)
    options = parser.parse_args(argv)
    return _explained(lambda: run(options, _robot(options), _print_row(not options.no_text)))


def _sense(argv: Sequence[str]) -> int:
    from erc_ros.live.command import source_options

    parser = argparse.ArgumentParser(
        prog="erc sense",
        description="Publish this machine's microphone and camera on the topics that the ROS 2 "
        "nodes subscribe to: audio, audio_info, image/compressed and, with --recognizer, speech.",
    )
    source_options(parser)
    parser.add_argument("--namespace", default="", help="namespace of the topics")
    options = parser.parse_args(argv)

    def sense() -> int:
        from erc_ros.live.sense import run

        return run(options)

    return _explained(sense)


def _say(text: str) -> None:
    """Print a line; ignore errors, so that results are not lost if output cannot be written."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _import(argv: Sequence[str]) -> int:
    from erc_ros.media.options import private_option, transcript_options

    parser = argparse.ArgumentParser(
        prog="erc import", description="Write a video or audio file as a rosbag2 (MCAP)."
    )
    parser.add_argument("media", type=Path, help="video or audio file")
    parser.add_argument("--out", type=Path, help="folder to make; default NAME.bag")
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second; default 10")
    transcript_options(parser)
    private_option(parser)
    options = parser.parse_args(argv)

    def write() -> int:
        from erc_ros.evaluation.transcripts import cues_for, recognizer_for
        from erc_ros.replay.bag import check_new
        from erc_ros.replay.info import write_bag
        from erc_ros.replay.progress import progress_bar
        from erc_ros.replay.recording import is_media

        if not is_media(options.media):
            raise ErcValueError(f"{options.media} is not a video or audio file")
        if not 0.1 <= options.fps <= 60:
            raise ErcValueError(f"--fps is {options.fps:g}; must be 0.1 to 60")
        out = options.out or options.media.with_suffix(".bag")
        check_new(out)
        recognizer = recognizer_for(options.recognizer, options.language)
        cues = cues_for(options.media, options.transcript, _say, options.recognizer or "")
        with progress_bar() as progress:
            print(write_bag(options.media, out, cues, options.fps, recognizer, progress))
        return 0

    return _explained(write)


def _demo(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="erc demo",
        description="Make a recording of three synthetic voices and a camera, and one in which the "
        "voice is angry and the words are not, and play them through the ROS 2 nodes in real time.",
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the results")
    _robot_options(parser)
    options = parser.parse_args(argv)
    return _explained(lambda: _demonstrate(options))


def _demonstrate(options: argparse.Namespace) -> int:
    from erc_ros.demo.conversation_bag import DIALOGUE, PLAIN_WORDS, write_demo
    from erc_ros.replay.bag import Bag
    from erc_ros.replay.report import write
    from erc_ros.replay.via_dds import play, recognizable_speech

    status = 0
    scene = options.out / "plain_words"
    for out, turns, content in (
        (options.out, DIALOGUE, "a written dialogue, three synthetic voices, a camera"),
        (scene, PLAIN_WORDS, "the words of the last turn are neutral, its voice is not"),
    ):
        check_folder(out)
        folder = out / "bag"
        if (folder / "metadata.yaml").is_file():
            shutil.rmtree(folder)  # of an earlier demo
        print(f"making {folder}: {content}", flush=True)
        write_demo(folder, speech_type=recognizable_speech(), turns=turns)
        print("playing it through the nodes over DDS, in real time\n", flush=True)
        with Bag(folder) as bag:
            result = play(bag, {}, _robot(options), 1.0, _print_row(True))
        files = write(result, out)
        _print_end(result, files)
        status = status or int(not result.rows)
    return status


def _make_bag(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="erc make-bag", description="Make the demo's recording (synthetic voices)."
    )
    parser.add_argument("bag", type=Path, help="folder to make")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    parser.add_argument(
        "--speech-type",
        choices=("hri_msgs/msg/LiveSpeech", "std_msgs/msg/String"),
        default="hri_msgs/msg/LiveSpeech",
    )
    parser.add_argument(
        "--plain-words",
        action="store_true",
        help="the scene in which the voice is angry and the last words are not",
    )
    options = parser.parse_args(argv)

    def make() -> int:
        from erc_ros.demo.conversation_bag import (
            DIALOGUE,
            PLAIN_WORDS,
            write_demo,
            write_demo_truth,
        )

        turns = PLAIN_WORDS if options.plain_words else DIALOGUE
        print(write_demo(options.bag, options.storage, options.speech_type, turns))
        print(write_demo_truth(options.bag.with_name(f"{options.bag.name}.truth.csv"), turns))
        return 0

    return _explained(make)


def _make_corpus(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="erc make-corpus",
        description="Make a small corpus in the layout of MELD or IEMOCAP, in which emotions are "
        "easy to recognize in words, voice and face, to try a whole system; and a recording."
        " of the same kind.",
    )
    parser.add_argument("layout", choices=("meld", "iemocap"))
    parser.add_argument("folder", type=Path, help="parent of the corpus folder to write")
    parser.add_argument("--dialogues", type=int, default=12, help="of eight turns; default 12")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bag", type=Path, help="also write a recording for `erc replay`")
    options = parser.parse_args(argv)

    def make() -> int:
        from erc_ros.demo.generated_corpora import write_corpus, write_recording
        from erc_ros.replay.progress import progress_bar

        with progress_bar(options.dialogues, "dialogues") as progress:
            corpus = write_corpus(
                options.layout, options.folder, options.dialogues, options.seed, progress
            )
        print(corpus)
        if options.bag is not None:
            # Dialogues that differ from those of the corpus.
            print(write_recording(options.layout, options.bag, options.seed + 1_000_000))
        return 0

    return _explained(make)


def _robot(options: argparse.Namespace) -> RobotConfig:
    """Return the node parameters from the file, overridden by the options."""
    from erc_ros.parameters import robot_config

    return robot_config(
        options.params_file,
        bundle=options.bundle,
        speaker_model=options.speaker_model,
        tuning_file=options.tuning,
    )


def _print_row(with_text: bool) -> Callable[[Row, int], None]:
    from erc_ros.values.utterance import speaker_name
    from erc_ros.values.why import name_of

    def show(row: Row, origin: int) -> None:
        if not row.is_final:
            return
        speaker = speaker_name(row.speaker_id, row.person_id) or "unknown"
        weights = " ".join(
            f"{name_of(name)} {row.weights[name]:.0%}"
            for name, is_present in row.modalities.items()
            if is_present
        )
        words = f'"{row.text}"' if with_text and row.text else "(no words)"
        print(
            f"{(row.start - origin) / 1e9:6.1f} s  {speaker:<10} {_label_of(row):<9}"
            f"{row.confidence:4.0%}  {words}  [{weights}]",
            flush=True,
        )

    return show


def _label_of(row: Row) -> str:
    return row.label or f"unknown ({row.most_probable})"


def _print_end(result: Result, files: Sequence[Path]) -> None:
    speakers = len({row.speaker_id for row in result.rows if row.speaker_id})
    unknown = sum(not row.label for row in result.rows)
    labels = Counter(row.label or "unknown" for row in result.rows)
    counts = ", ".join(f"{label} {count}" for label, count in labels.most_common())
    print(
        f"\n{len(result.rows)} estimates, {speakers} speakers"
        + (f": {counts}" if counts else "")
        + ("; unknown: the confidence is below min_confidence" if unknown else "")
    )
    for line in _why_in_words(result.rows):
        print(line)
    for text, count in sorted(result.warnings.items()):
        _say(f"warning: {text}" + (f" ({count} times)" if count > 1 else ""))
    timing = result.timing
    if "times_real_time" in timing:
        print(
            f"{timing['recorded_s']:.1f} s of recording in {timing['wall_s']:.1f} s: "
            f"{timing['times_real_time']} times real time"
        )
    if latency := timing.get("latency_ms"):
        print(
            "from the last input to the estimate, over DDS: "
            f"p50 {latency['p50']} ms, p95 {latency['p95']} ms"
        )
    print("\n".join(f"  {file}" for file in files))


def _why_in_words(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line per modality: how often it changed the label, and its reliability."""
    from erc_ros.replay.report import summary_of_why
    from erc_ros.values.why import name_of

    for name, summary in summary_of_why(rows).items():
        changed = f"changed the label of {summary['changed_the_label']} estimates"
        reliability = summary["mean_reliability"]
        trust = "" if reliability is None or name == "text" else f", reliability {reliability:.2f}"
        distrusted = sum(summary["not_trusted"].values())
        trust += f", not trusted in {distrusted}" if distrusted else ""
        yield f"  {name_of(name) + ':':<7}{changed}{trust}"


def _explained(command: Callable[[], int]) -> int:
    """Run a command and return its exit status, 1 with a line on stderr for known errors."""
    try:
        return command()
    except (ValueError, RuntimeError) as error:
        print(f"erc: {error}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:  # our own has no errno and says what to do
        print(f"erc: {explain(error) if error.errno else error}", file=sys.stderr)
        return 1


_COMMANDS: dict[str, tuple[Command, str]] = {
    "run": (_elsewhere("nodes.run", explains=False), "start the ROS 2 nodes"),
    "security-policy": (
        _elsewhere("nodes.policy"),
        "the SROS2 policy of the nodes for these arguments of `erc run`",
    ),
    "replay": (_replay, "estimates and a timeline image of a video, audio file or rosbag2"),
    "live": (_live, "emotions from this machine's microphone and camera"),
    "sense": (_sense, "publish this machine's microphone and camera on ROS 2 topics"),
    "evaluate": (_evaluate, "scores and a report of recordings, against annotations"),
    "evaluate-bag": (_elsewhere("evaluation.command"), "the same (former name)"),
    "agreement": (
        _elsewhere("evaluation.agreement_command"),
        "agreement of several annotators: kappa, alpha",
    ),
    "annotate": (
        _elsewhere("evaluation.annotate"),
        "a first annotation of a recording, to correct in ELAN",
    ),
    "info": (_elsewhere("evaluation.info:info"), "content of a recording, and what would be used"),
    "import": (_import, "write a video or audio file as a rosbag2"),
    "models": (
        _elsewhere("replay.info:models"),
        "the installed model packages: inputs, languages, license",
    ),
    "doctor": (
        _elsewhere("media.doctor", explains=False),
        "what is installed on this machine, and how to get what is missing",
    ),
    "demo": (_demo, "make a recording and play it through the nodes"),
    "make-bag": (_make_bag, "make the recording of the demo"),
    "make-corpus": (
        _make_corpus,
        "write a small synthetic corpus in the layout of MELD or IEMOCAP",
    ),
    "enrol": (_elsewhere("nodes.enrol"), "store a person's voice, so that it is recognized later"),
    "people": (
        _elsewhere("nodes.people"),
        "who is sensed by the running nodes; enroll, opt out and forget people",
    ),
    "web": (
        _elsewhere("live.robot_page"),
        "a local web page of the running nodes: live view, enrollment, opt-out",
    ),
    "train": (_elsewhere("training.command", explains=False), "train models by a recipe"),
    "evaluate-run": (
        _elsewhere("training.engine.evaluation", explains=False),
        "all metrics of finished runs, with intervals and images",
    ),
    "table": (_elsewhere("training.systems.tables", explains=False), "finished runs side by side"),
    "figure": (
        _elsewhere("training.systems.figures", explains=False),
        "a figure of a paper from finished runs",
    ),
    "encode": (
        _elsewhere("training.features.encode", explains=False),
        "encode a corpus once and store the features",
    ),
    "cut-faces": (
        _elsewhere("training.datasets.faces", explains=False),
        "crop the faces in the clips of a corpus",
    ),
    "convert-emotion2vec": (
        _elsewhere("training.encoders.audio.emotion2vec", explains=False),
        "convert a published checkpoint of emotion2vec",
    ),
    "quantize": (
        _elsewhere("training.quantization.command", explains=False),
        "write a smaller and faster model package, if its accuracy is kept",
    ),
    "calibrate": (
        _elsewhere("training.export.calibration", explains=False),
        "calibrate the confidence of a model package",
    ),
    "recalibrate": (
        _elsewhere("evaluation.recalibration"),
        "fit a model package to a place with a few labeled utterances",
    ),
    "export": (
        _elsewhere("training.export.run", explains=False),
        "export a finished run as ONNX or as a model package",
    ),
    "build-engines": (
        _elsewhere("inference.engines.command"),
        "build TensorRT engines for this machine",
    ),
}

_GROUPS = {
    "use": (
        *("run", "sense", "live", "replay", "annotate", "evaluate"),
        *("evaluate-bag", "agreement", "import", "enrol", "people", "web"),
        "security-policy",
        *("demo", "make-bag", "info", "models", "doctor"),
    ),
    "train": (
        *("train", "evaluate-run", "table", "figure", "encode", "cut-faces", "make-corpus"),
        "convert-emotion2vec",
    ),
    "model packages": ("export", "quantize", "calibrate", "recalibrate", "build-engines"),
}

if __name__ == "__main__":
    raise SystemExit(main())
