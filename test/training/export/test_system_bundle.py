"""`erc export RUN --bundle DIR`: a system's run becomes a bundle that answers as torch does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("av", reason="needs the extra [train]")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from system_runs import change, write_system_run

from erc_ros.cli import main
from erc_ros.encoders.text import Turn
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.manifest import FaceCrops, LogMelAudio
from erc_ros.networks.network import observed
from erc_ros.networks.session import signature
from erc_ros.training.datasets import corpora
from erc_ros.training.encoders.audio.pretrained import SpeechEncoderConfig
from erc_ros.training.encoders.robot import FacesEncoder, LogMelEncoder
from erc_ros.training.encoders.sample import Sample
from erc_ros.training.encoders.visual.pretrained import VideoEncoderConfig
from erc_ros.training.engine.recipe import RecipeError
from erc_ros.training.export.system_bundle import COMPLETE, export_bundle, origin, read_system
from erc_ros.training.features.encode import encode_split
from erc_ros.training.features.store import FeatureStore
from erc_ros.training.heads.registry import make_head
from erc_ros.training.onnx import export_fusion
from erc_ros.values.utterance import FaceCrop, Utterance


@pytest.fixture(scope="module")
def meld(generated_meld: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, with faces that were cut."""
    data = tmp_path_factory.mktemp("data")
    (data / "MELD.Raw").symlink_to(generated_meld / "MELD.Raw")
    options = ["--data", str(data), "--crops", "8", "--size", "32"]
    assert main(["cut-faces", "meld", *options]) == 0
    return data


@pytest.fixture(scope="module")
def finished(meld: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_system_run(tmp_path_factory.mktemp("system") / "run", meld, "meld-faces")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="module")
def exported(finished: Path, meld: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "magtkd"
    arguments = ["--bundle", str(folder), "--data", str(meld), "--context", "5"]
    assert main(["export", str(finished), *arguments]) == 0
    return folder


def test_the_bundle_says_what_the_run_knew(exported: Path) -> None:
    bundle = load_bundle(exported)
    assert (bundle.name, bundle.version) == ("magtkd-meld-faces", "1.0.0")
    assert bundle.text.tokenizer.roles.start == "<s>" and bundle.text.tokenizer.mask == "<mask>"
    assert (bundle.audio.max_seconds, bundle.audio.normalise) == (2.0, True)
    assert (bundle.visual.size, bundle.visual.frames, bundle.visual.embedding) == (32, 8, 32)
    assert bundle.fusion.context == 5 and bundle.training["corpus"] == "meld-faces"
    assert set(bundle.metrics["test_weighted_f1"]) >= {"text+audio+visual", "text"}
    assert "non-commercial purposes only" in (exported / "LICENSE").read_text()
    card = (exported / "README.md").read_text()
    assert "roberta, fine-tuned in the stage text" in card and "MAGT (MAGTKD" in card


def test_the_card_names_the_fusion_model_and_what_it_sees(
    exported: Path, meld: Path, tmp_path: Path
) -> None:
    """A row of another fusion model in a run of MAGTKD; Concat sees one utterance at a time."""
    card = (exported / "README.md").read_text()
    assert "causal fusion over the last 5 utterances" in card
    run = write_system_run(tmp_path / "run", meld, "meld-faces", head="concat", kind="magtkd")
    folder = tmp_path / "bundle"
    without = ["--without", "audio", "--without", "visual"]
    arguments = ["--bundle", str(folder), "--data", str(meld), *without]
    assert main(["export", str(run), *arguments]) == 0
    card = (folder / "README.md").read_text()
    assert "Concat" in card and "MAGT (" not in card
    assert load_bundle(folder).fusion.context == 1
    assert "over the last" not in card and "current utterance alone" in card
    assert "emotion of an utterance from text\n" in card


def test_a_fusion_that_never_missed_a_modality_says_so(exported: Path, run: Path) -> None:
    """In the card, in the manifest, and, from there, on the console."""
    assert load_bundle(exported).training["note"] == COMPLETE
    assert COMPLETE in (exported / "README.md").read_text()
    rates = {"conversation": [0.1, 0.0, 0.0], "utterance": [0.0, 0.0, 0.0]}
    for row, notes in (({}, ""), ({"seen": ["text", "audio"]}, COMPLETE)):
        file = run / "stages" / "fusion" / "best" / "metrics.json"
        change(file, settings={"row": {"head": "magtkd", **row}, "dropout": rates})
        assert origin(read_system(run))["note"] == notes


def test_the_robot_sees_what_the_training_saw(exported: Path, meld: Path, finished: Path) -> None:
    """The recognizer's embeddings are those of the feature stores, from words, sound and faces."""
    split = corpora.read("meld-faces", meld, "test")
    conversation, seen = split.conversations[0], {"text": [], "audio": [], "visual": []}
    with (
        EmotionRecognizer(load_bundle(exported)) as recognizer,
        observed(lambda file, inputs: seen.setdefault(file.stem, []).append(inputs)),
    ):
        for said in conversation.utterances:
            pixels = corpora.frames(said.pictures, 16)[..., ::-1]
            sound = np.rint(corpora.sound("meld-faces", said.clip) * 32767).astype(np.int16)
            faces = tuple(FaceCrop(n, np.ascontiguousarray(p)) for n, p in enumerate(pixels))
            heard = {"speaker_id": str(said.speaker), "audio": sound, "faces": faces}
            recognizer.feed(Utterance("c", f"u{said.index}", 0, 1, text=said.text, **heard))
    fused = seen["fusion"][-1]
    stores = {
        name: FeatureStore(finished / "stages" / stage / "seed-1" / "features" / "test")
        for name, stage in (("text", "text"), ("audio", "audio_kd"), ("visual", "visual"))
    }
    keys = [conversation.key(said) for said in conversation.utterances][-5:]
    for name, store in stores.items():
        # Sound was rounded to 16 bits on its way.
        np.testing.assert_allclose(fused[name][0], store.take(keys)[0], atol=5e-3, err_msg=name)


texts = st.lists(st.tuples(st.integers(0, 9), st.text(max_size=60)), min_size=1, max_size=5).filter(
    lambda turns: bool(turns[-1][1].strip())
)


@pytest.mark.parametrize("model", ["roberta", "bert", "deberta"])
@pytest.mark.parametrize("prompt", ["magtkd", "ddvlm", "plain"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(turns=texts)
def test_a_prompt_on_the_robot_has_the_tokens_of_the_training(
    model: str, prompt: str, turns: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoder, robot = _prompts(model, prompt, tmp_path_factory)
    said = [Turn(speaker, text) for speaker, text in turns if text.strip()]
    window: tuple[tuple[int, ...], ...] = ()
    for turn in said:
        window = robot.slide(window, turn)
    assert robot.assemble(window) == encoder.tokens(Sample("", tuple(said)))


_MADE: dict[tuple[str, str], tuple] = {}


def _prompts(model: str, prompt: str, factory: pytest.TempPathFactory) -> tuple:
    import tiny_models

    from erc_ros.encoders.text import Vocabulary, WholePrompt
    from erc_ros.training.encoders.text.pretrained import PretrainedTextEncoder, TextEncoderConfig

    if (model, prompt) not in _MADE:
        folder = getattr(tiny_models, model)(factory.mktemp(model))
        encoder = PretrainedTextEncoder(TextEncoderConfig(str(folder), prompt=prompt, history=3))
        file = folder / "robot.json"
        encoder.tokenizer.backend_tokenizer.save(str(file))
        vocabulary = Vocabulary.from_file(file, encoder.roles)
        robot = WholePrompt(vocabulary, encoder.max_tokens, prompt, 3)
        _MADE[model, prompt] = encoder, robot
    return _MADE[model, prompt]


def test_a_modality_can_be_left_out(run: Path, meld: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "stages" / "audio_kd" / "seed-1" / "encoder")
    with pytest.raises(RecipeError, match=r"audio_kd.*--without"):
        export_bundle(run, tmp_path / "bundle", meld)
    bundle, _ = export_bundle(run, tmp_path / "bundle", meld, without=("audio",))
    assert bundle.audio is None and bundle.visual is not None
    assert not (tmp_path / "bundle" / "audio.onnx").exists()
    with EmotionRecognizer(bundle) as recognizer:
        answer = recognizer.feed(Utterance("c", "u", 0, 1, text="hello"))
    assert answer.probabilities.sum() == pytest.approx(1)


def test_another_row_of_the_fusion_can_be_taken(run: Path) -> None:
    """DDVLM's first row reads descriptions, which no robot makes; its camera row does not."""
    best, seed = run / "stages/fusion/best", run / "stages/fusion/robot-causal/seed-1"
    shutil.copytree(best, seed)
    change(seed / "metrics.json", row="robot")
    shutil.rmtree(run / "stages/visual/seed-1/encoder")
    reads = {"text": "text", "audio": "audio_kd"}
    change(seed / "metrics.json", reads=reads)
    with pytest.raises(RecipeError, match="--row"):
        read_system(run)
    system = read_system(run, row="robot")
    assert set(system.readings) == {"text", "audio"} and system.name.endswith("-robot")
    with pytest.raises(RecipeError, match="'human'"):
        read_system(run, row="human")


def test_an_encoder_that_was_not_fine_tuned_is_exported_as_well(
    run: Path, meld: Path, tmp_path: Path
) -> None:
    stage = run / "stages/audio_kd"
    for file in (stage / "seed-1").iterdir():
        file.rename(stage / file.name)
    (stage / "seed-1").rmdir()
    (stage / "metrics.json").unlink()
    bundle, _ = export_bundle(run, tmp_path / "bundle", meld, without=("visual",))
    assert bundle.audio is not None
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "data2vec-audio, as published, in the stage audio_kd" in card


def test_the_robot_s_own_networks_become_parts_of_a_bundle(
    run: Path, meld: Path, tmp_path: Path
) -> None:
    """Log-mel and faces instead of a waveform and a clip, at their own width."""
    made = {
        "audio": ("audio_kd", LogMelEncoder(SpeechEncoderConfig("log-mel", max_seconds=3.0))),
        "visual": ("visual", FacesEncoder(VideoEncoderConfig("faces"))),
    }
    for stage, encoder in made.values():
        folder = run / "stages" / stage / "seed-1"
        shutil.rmtree(folder / "encoder")
        shutil.rmtree(folder / "features")
        encoder.save(folder / "encoder")
        for split in ("dev", "test"):
            read = corpora.read("meld-faces", meld, split)
            encode_split("meld-faces", read, encoder, folder / "features" / split)
    change(run / "stages/audio_kd/seed-1/reading.json", options={"max_seconds": 3.0})
    sizes = (32, made["audio"][1].dimension, made["visual"][1].dimension)
    head = make_head("summer", {"width": 12, "embeddings": sizes, "labels": 7})
    export_fusion(head, run / "stages/fusion/best/fusion.onnx")
    bundle, differences = export_bundle(run, tmp_path / "bundle", meld)
    assert isinstance(bundle.audio, LogMelAudio) and isinstance(bundle.visual, FaceCrops)
    assert bundle.audio.max_seconds == 3.0 and max(differences.values()) < 1e-4


Change = Callable[[Path], object]
UNUSABLE: dict[str, tuple[Change, str]] = {
    "offline": (
        lambda run: (run / "stages/fusion/best").rename(run / "stages/fusion/magt-offline"),
        r"trained offline only \(magt-offline\).*add causal",
    ),
    "unfinished": (
        lambda run: shutil.rmtree(run / "stages/fusion/best"),
        "finish it with the same erc train",
    ),
    "other labels": (
        lambda run: change(run / "stages/audio_kd/seed-1/reading.json", labels=["sad", "glad"]),
        r"different labels \(text: neutral, .*audio_kd: sad, glad",
    ),
    "another modality": (
        lambda run: change(run / "stages/audio_kd/seed-1/reading.json", modality="visual"),
        "is of 'visual', not of audio",
    ),
    "no text": (
        lambda run: change(run / "stages/fusion/best/metrics.json", reads={"audio": "audio_kd"}),
        "reads no text",
    ),
    "another kind": (
        lambda run: (run / "recipe.yaml").write_text("kind: face"),
        "kind 'face', not of a system",
    ),
}


def test_an_encoder_of_a_stage_is_exported_by_itself(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = run / "stages" / "text" / "seed-1"
    assert main(["export", str(seed)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"encoder\.onnx: differs from torch by [\d.]+e-0[4-9]", told)
    assert set(signature(seed / "encoder.onnx").inputs) >= {"input_ids", "attention_mask"}
    change(seed / "reading.json", options={"prompt": "nobody's"})
    assert main(["export", str(seed)]) == 1
    assert "prompt must be one of" in capsys.readouterr().err
    change(seed / "reading.json", options=None)
    assert main(["export", str(seed)]) == 1
    assert "reading.json does not say how the encoder is read" in capsys.readouterr().err


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_run_that_is_none_for_a_robot_is_refused(run: Path, fault: str) -> None:
    spoil, message = UNUSABLE[fault]
    spoil(run)
    with pytest.raises(RecipeError, match=message):
        read_system(run)


def test_a_tokenizer_without_a_mask_is_refused(run: Path, meld: Path, tmp_path: Path) -> None:
    folder = run / "stages/text/seed-1/encoder"
    change(folder / "tokenizer_config.json", mask_token=None)
    with pytest.raises(ValueError, match="mask"):
        export_bundle(run, tmp_path / "bundle", meld)
    assert not (tmp_path / "bundle").exists()


def test_a_corpus_with_other_labels_is_refused(run: Path, meld: Path, tmp_path: Path) -> None:
    for stage in ("text", "audio_kd", "visual"):
        change(run / f"stages/{stage}/seed-1/reading.json", labels=["bad", "good"])
    with pytest.raises(ValueError, match=r"arousal.*bad.*good"):
        export_bundle(run, tmp_path / "bundle", meld)
    for stage in ("text", "audio_kd", "visual"):
        change(run / f"stages/{stage}/seed-1/reading.json", labels=["negative", "positive"])
    with pytest.raises(RecipeError, match=r"neutral.*negative"):
        export_bundle(run, tmp_path / "bundle", meld)


def test_sound_at_another_rate_is_refused(run: Path, meld: Path, tmp_path: Path) -> None:
    file = run / "stages/audio_kd/seed-1/encoder"
    names = [
        n for n in ("preprocessor_config.json", "processor_config.json") if (file / n).exists()
    ]
    change(file / names[0], sampling_rate=8000)
    with pytest.raises(ValueError, match=r"8000.*16000"):
        export_bundle(run, tmp_path / "bundle", meld)


def test_a_bundle_of_whole_pictures_says_so(
    run: Path, meld: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = (run / "recipe.yaml").read_text().replace("meld-faces", "meld-clips")
    (run / "recipe.yaml").write_text(recipe)
    arguments = ["--bundle", str(tmp_path / "bundle"), "--data", str(meld), "--name", "scenes"]
    assert main(["export", str(run), *arguments]) == 0
    assert "cut-faces" in capsys.readouterr().out
    assert json.loads(json.dumps(load_bundle(tmp_path / "bundle").training))["note"]


def test_errors_are_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "stages/fusion/best")
    assert main(["export", str(run), "--bundle", str(run / "b"), "--data", "nowhere"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("erc export: ") and said.count("\n") == 1
