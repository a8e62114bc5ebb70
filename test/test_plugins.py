"""Extension classes: found by name, refused with a remedy, and used by the commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import plugin_package
import pytest
import yaml
from numpy.typing import NDArray

from erc_ros import plugins
from erc_ros.adapters import ADAPTERS, speech_type, types_of
from erc_ros.cli import main
from erc_ros.demo.conversation_bag import write_demo, write_demo_truth
from erc_ros.dialogue.voice_activity import FRAME, SileroVoiceActivity, VoiceActivityFrames
from erc_ros.evaluation.scores import evaluate
from erc_ros.evaluation.tally import Answered, ScoredConversation
from erc_ros.inference.bundle import load_bundle
from erc_ros.pipeline import Perception, PerceptionConfig
from erc_ros.plugins import FACE_DETECTORS, FUSION_MODELS, Kind, PluginError, find
from erc_ros.values.nanoseconds import NS
from erc_ros.values.transcript import Transcript


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_package.install(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("bags") / "demo")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "estimates.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["is_final"]]


# --- names ---


@pytest.mark.parametrize("kind", plugins.KINDS, ids=lambda kind: kind.group)
def test_every_class_of_this_package_is_found_by_its_name(kind: Kind) -> None:
    for name in kind.own:
        assert find(kind, name) is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yunnet", ["'yunnet'", "did you mean yunet?", "haar", "erc_ros.face_detectors"]),
        ("no_such_module:Class", ["no module no_such_module", "install"]),
        ("json:Detector", ["json has no Detector"]),
        ("json:JSONDecodr", ["did you mean JSONDecoder?"]),
        ("json:JSONDecoder", ["no detect", "needs detect"]),
        ("my faces:Detector", ["module:Class"]),
        ("faces.py:Detector", ["takes no file"]),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_a_remedy(name: str, words: list[str]) -> None:
    with pytest.raises(PluginError) as refused:
        find(FACE_DETECTORS, name)
    assert all(word in str(refused.value) for word in words)


def test_a_module_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_faces.py").write_text("import no_such_library\n")
    (tmp_path / "failing_faces.py").write_text("raise KeyError('x')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="no_such_library"):
        find(FACE_DETECTORS, "broken_faces:Detector")
    with pytest.raises(PluginError, match="KeyError"):
        find(FACE_DETECTORS, "failing_faces:Detector")


def test_a_class_in_a_file_is_found_where_a_recipe_names_it(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("class Own:\n    CONFIG = None\n    def fuse(self, inputs): ...\n")
    own = find(FUSION_MODELS, f"{file}:Own")
    assert own.__name__ == "Own" and find(FUSION_MODELS, f"{file}:Own") is own
    with pytest.raises(PluginError, match="no file"):
        find(FUSION_MODELS, f"{tmp_path / 'other.py'}:Own")
    (tmp_path / "bad.py").write_text("class Own(:\n")
    with pytest.raises(PluginError, match="SyntaxError"):
        find(FUSION_MODELS, f"{tmp_path / 'bad.py'}:Own")


def test_a_name_that_two_packages_offer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[erc_ros.face_detectors]\nsame = {name}:Faces\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins._entry_points.cache_clear()
    with pytest.raises(PluginError, match="several"):
        find(FACE_DETECTORS, "same")
    monkeypatch.undo()
    plugins._entry_points.cache_clear()


class NeedsMore:
    frame = 160

    def __init__(self, threshold: float) -> None: ...

    def feed(self, frame: NDArray[np.float32]) -> float: ...

    def reset(self) -> None: ...


def test_a_class_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(PluginError, match="TypeError"):
        plugins.make(plugins.VOICE_ACTIVITY, f"{__name__}:NeedsMore")


# --- the package of examples/plugin ---


@pytest.mark.parametrize("form", ["entry point", "module:Class"])
def test_a_detector_and_a_vad_of_another_package_run_in_a_replay(
    site: Path, demo: Path, tmp_path: Path, form: str
) -> None:
    names = {"face_detector": "profile", "voice_activity_model": "energy"}
    if form == "module:Class":
        names = {
            "face_detector": "erc_example.faces:ProfileDetector",
            "voice_activity_model": "erc_example.voice:EnergyVoiceActivity",
        }
    parameters = tmp_path / "robot.yaml"
    parameters.write_text(yaml.safe_dump({"utterance_node": {"ros__parameters": names}}))
    out = tmp_path / "out"
    done = plugin_package.erc(
        site, "replay", demo, "--params-file", parameters, "--out", out, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    assert sum(bool(row["text"]) for row in rows) >= 10
    assert any("visual" in row["modalities"] for row in rows)
    assert any("audio" in row["modalities"] for row in rows)


def test_without_the_package_its_name_is_refused(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="'energy'"):
        Perception(PerceptionConfig(voice_activity_model="energy", speaker_model="none"))


# --- frames of another length ---


class Steps:
    """A detector of speech in samples above one half."""

    def __init__(self, frame: int) -> None:
        self.frame, self.calls, self.resets = frame, 0, 0

    def feed(self, frame: NDArray[np.float32]) -> float:
        assert frame.shape == (self.frame,)
        self.calls += 1
        return float(frame.mean() > 0.5)

    def reset(self) -> None:
        self.resets += 1


@pytest.mark.parametrize("length", [80, 160, 320, 512, 1024, 1600])
def test_frames_of_any_length_are_found_within_one_of_them(length: int) -> None:
    detector = Steps(length)
    frames = VoiceActivityFrames(detector)
    audio = np.zeros(100 * FRAME, np.float32)
    begin, end = 30 * FRAME, 60 * FRAME
    audio[begin:end] = 1.0
    is_speech = [frames.feed(audio[n : n + FRAME]) > 0.5 for n in range(0, len(audio), FRAME)]
    assert detector.calls == len(audio) // length
    first, last = is_speech.index(True), len(is_speech) - 1 - is_speech[::-1].index(True)
    delay = length // FRAME + 1
    assert 30 <= first <= 30 + delay and 59 - 1 <= last <= 59 + delay
    frames.reset()
    assert detector.resets == 2


@pytest.mark.parametrize("length", [0, 79, 1601])
def test_frames_that_are_too_short_or_too_long_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="80 to 1600"):
        VoiceActivityFrames(Steps(length))


def test_frames_of_the_usual_length_change_nothing() -> None:
    audio = np.random.default_rng(0).uniform(-1, 1, 20 * FRAME).astype(np.float32)
    parts = audio.reshape(-1, FRAME)
    plain, framed = SileroVoiceActivity(), VoiceActivityFrames(SileroVoiceActivity())
    assert [plain.feed(part) for part in parts] == [framed.feed(part) for part in parts]


# --- messages of another speech recognizer ---

HEARD = "plugin_msgs/msg/Heard"
DEFINITION = "std_msgs/Header header\nstring words\nfloat32 sure\n"
READER = """
from erc_ros.adapters import stamp_of
from erc_ros.values.transcript import Transcript

class Heard:
    message_type = "plugin_msgs/msg/Heard"

    def read(self, message, arrival):
        stamp = stamp_of(message.header)
        return Transcript(message.words, arrival, stamp=stamp, confidence=message.sure)
"""
TEXTS = ("I got the job!", "They stole my bike.", "The table is in the room.")


def write_heard(folder: Path) -> Path:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg(DEFINITION, HEARD))
    header, time, heard = (
        store.types[name] for name in ("std_msgs/msg/Header", "builtin_interfaces/msg/Time", HEARD)
    )
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/heard", HEARD, typestore=store)
        for number, text in enumerate(TEXTS):
            now = 1_700_000_000 + 4 * number
            message = heard(header(time(now, 0), ""), text, 0.9)
            writer.write(connection, now * NS, store.serialize_cdr(message, HEARD))
    return folder


def test_messages_of_another_speech_recognizer_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heard_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    parameters = tmp_path / "robot.yaml"
    table = {"utterance_node": {"ros__parameters": {"speech_type": "heard_reader:Heard"}}}
    parameters.write_text(yaml.safe_dump(table))
    bag, out = write_heard(tmp_path / "bag"), tmp_path / "out"
    try:
        arguments = ["--params-file", str(parameters), "--out", str(out)]
        assert main(["replay", str(bag), *arguments]) == 0
    finally:
        ADAPTERS.pop(HEARD, None)
    assert [row["text"] for row in rows_of(out)] == list(TEXTS)


def test_a_reader_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(name=HEARD, value=f"{__name__}:EntryHeard")
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [entry])
    plugins._entry_points.cache_clear()
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    try:
        assert HEARD in types_of("speech") and speech_type(HEARD) == HEARD
        message = SimpleNamespace(words="hello")
        assert ADAPTERS[HEARD].read(message, 5) == Transcript("hello", 5)
    finally:
        ADAPTERS.pop(HEARD, None)
        monkeypatch.undo()
        plugins._entry_points.cache_clear()


class EntryHeard:
    message_type = HEARD

    def read(self, message: Any, arrival: int) -> Transcript:
        return Transcript(message.words, arrival)


class Redefined:
    message_type = "std_msgs/msg/String"

    def read(self, message: Any, arrival: int) -> None: ...


def test_types_of_this_package_are_not_redefined() -> None:
    with pytest.raises(PluginError, match="already"):
        speech_type(f"{__name__}:Redefined")
    with pytest.raises(PluginError, match="message"):
        speech_type("LiveSpeech")


# --- metrics, exporters and encoders ---

CLASSES = Path(__file__).parent / "broken_plugins.py"


def test_a_metric_and_an_exporter_of_another_package_are_used(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_demo_truth(tmp_path / "demo.csv")
    out = tmp_path / "out"
    evaluation = ["evaluate-bag", str(demo), "--truth", str(truth), "--no-media"]
    names = ["--metric", f"{CLASSES}:ErrorRate", "--export", "csv", f"{CLASSES}:Tsv"]
    assert main([*evaluation, *names, "--out", str(out)]) == 0
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    (system,) = scores["systems"]
    figures = system["figures"]
    assert figures["error_rate"]["value"] == pytest.approx(1 - figures["accuracy"]["value"])
    assert figures["error_rate"]["n"] == figures["accuracy"]["n"]
    assert len((out / "demo.tsv").read_text(encoding="utf-8").splitlines()) >= 10
    assert (out / "demo.truth.tsv").is_file() and (out / "demo.csv").is_file()
    capsys.readouterr()
    for wrong in (["--metric", "acuracy"], ["--export", "cvs"], ["--metric", f"{CLASSES}:Tsv"]):
        assert main([*evaluation, *wrong, "--out", str(tmp_path / "none")]) != 0
        said = capsys.readouterr().err
        assert "there is no" in said or "has no" in said or "did you mean csv?" in said
    assert not (tmp_path / "none").exists()


def test_a_metric_with_the_name_of_another_figure_is_refused() -> None:
    accuracy = SimpleNamespace(name="accuracy", compute=lambda *_: 1.0)
    answered = Answered(
        np.array([0]), np.array([[0.9, 0.1]]), ("a",), ("text",), ("no sound",), np.array([True])
    )
    talk = ScoredConversation("talk", answered.sums(), answered)
    with pytest.raises(PluginError, match="'accuracy'"):
        evaluate({"system": (("joy", "anger"), [talk])}, metrics=[accuracy])


def test_an_encoder_of_another_package_encodes_a_corpus(
    generated_meld: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from erc_ros.training.features.store import FeatureStore

    encode = ["encode", "meld", "dev", "--data", str(generated_meld), "--model", ""]
    out = ["--out", str(tmp_path / "features")]
    assert main([*encode, *out, "--encoder", f"{CLASSES}:Length"]) == 0
    store = FeatureStore(tmp_path / "features")
    assert (store.encoder, store.dimension) == ("length-1", 2) and len(store)
    for wrong in ("lenght", f"{CLASSES}:Tsv", f"{CLASSES}:Nothing"):
        assert main([*encode, "--out", str(tmp_path / "none"), "--encoder", wrong]) == 2
        assert wrong.rpartition(":")[2] in capsys.readouterr().err


def test_a_fusion_model_and_a_corpus_of_another_package_become_a_bundle(
    site: Path, tmp_path: Path
) -> None:
    plugin_package.write_talks(tmp_path)
    data = ["--data", str(tmp_path)]
    recipe = {
        "kind": "stored",
        "features": {"corpus": "talks", "text": "runs/features/talks-{split}-bundle-text"},
        "comparison": {"seeds": [0], "modes": ["causal"], "resamples": 10},
        "rows": [{"head": "conversation-mean", "options": {"layers": 2}}, {"head": "concat"}],
        "network": {"width": 16},
        "trainer": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01},
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(recipe))
    anchors = ["--anchor", "engaged=0.4,0.4", "--anchor", "not engaged=-0.2,-0.5"]
    for command in (
        *(["encode", "talks", split, *data] for split in ("train", "dev", "test")),
        ["train", "table.yaml", "--out", "runs/table", *data],
        [
            "export",
            "runs/table",
            "--row",
            "conversation-mean",
            "--bundle",
            "bundle",
            *anchors,
            *data,
        ],
    ):
        done = plugin_package.erc(site, *command, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.name == "stored-talks-conversation-mean" and bundle.labels == (
        "engaged",
        "not engaged",
    )
    assert "Talks (example)" in (tmp_path / "bundle" / "LICENSE").read_text(encoding="utf-8")
