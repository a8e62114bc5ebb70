"""The voice part: histories, the network between two views of a voice, and its training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra [train]")
soundfile = pytest.importorskip("soundfile", reason="needs the extra [train]")

from erc_ros.inference.voice import HeardVoice, voice_inputs  # noqa: E402
from erc_ros.networks.network import Network  # noqa: E402
from erc_ros.training.datasets import corpora  # noqa: E402
from erc_ros.training.datasets.utterances import LABELS  # noqa: E402
from erc_ros.training.encoders.audio import voice_features  # noqa: E402
from erc_ros.training.encoders.audio.voice_features import (  # noqa: E402
    VoiceClips,
    voice_clips,
)
from erc_ros.training.encoders.audio.voice_histories import (  # noqa: E402
    NONE,
    OTHER,
    SINGLE,
    Histories,
    HistorySampling,
    streams,
)
from erc_ros.training.encoders.audio.voice_model import (  # noqa: E402
    VoiceEnsemble,
    VoiceNetwork,
    VoiceNetworkConfig,
    emotion_directions,
)
from erc_ros.training.encoders.audio.voice_train import (  # noqa: E402
    FOUR,
    VoiceConfig,
    VoiceRecipe,
    answers,
    balance,
    fit_voice,
    hold_out,
    load_examples,
    measure,
    prior_of,
    recalled,
    speaker_folds,
    train,
)
from erc_ros.training.encoders.augmentation import (  # noqa: E402
    Channel,
    ChannelAugmentation,
    no_voices,
    telephone_band,
)
from erc_ros.training.engine.embeddings import load_embeddings  # noqa: E402
from erc_ros.training.engine.recipe import Recipe, RecipeError  # noqa: E402
from erc_ros.training.engine.runs import write_run  # noqa: E402
from erc_ros.training.engine.trainer import TrainerConfig  # noqa: E402
from erc_ros.training.onnx import export_voice  # noqa: E402
from erc_ros.values.utterance import SAMPLE_RATE  # noqa: E402

SIZE, HEARD = 12, 4
TINY = VoiceNetworkConfig(hidden=16, dropout=0.1, input_dropout=0.0, noise=0.1)
ANGER = LABELS.index("anger")


def made_up(speakers: int = 12, each: int = 6, offset: float = 6.0, seed: int = 0) -> VoiceClips:
    """Speakers who differ far more from each other than by their four emotions."""
    draw = np.random.default_rng(seed)
    labels = np.array([LABELS.index(word) for word in FOUR])
    rows = [(s, label) for s in range(speakers) for label in labels for _ in range(each)]
    levels = draw.normal(0, offset, (speakers, SIZE))
    levels[:, :4] *= 0.3  # emotions show where people differ less, as a real front end has it
    emotions = np.zeros((len(LABELS), SIZE))
    emotions[labels, np.arange(4)] = 3.0
    features = np.array([levels[s] + emotions[k] + draw.normal(0, 0.5, SIZE) for s, k in rows])
    corpora = np.array([f"c{s % 3}" for s, _ in rows])
    return VoiceClips(
        features[:, None].astype(np.float32),
        np.array([k for _, k in rows], np.int64),
        corpora,
        np.array([f"{corpus}-s{s:02d}" for (s, _), corpus in zip(rows, corpora, strict=True)]),
        np.array(["female" if s // 3 % 2 else "male" for s, _ in rows]),
        draw.normal(0, 1, (5, SIZE)).astype(np.float32),
    )


def sections(epochs: int = 12, **voice: object) -> VoiceRecipe:
    return VoiceRecipe(
        VoiceConfig(**{"heard": HEARD, "seeds": (0,), **voice}),  # type: ignore[arg-type]
        TINY,
        HistorySampling(),
        TrainerConfig(epochs=epochs, batch_size=32, learning_rate=0.01),
    )


# --- histories ---


@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_what_was_heard_is_of_the_same_speaker_in_the_same_version(
    seed: int, first: float, single: float
) -> None:
    clips = made_up(4, 3)
    draw = np.random.default_rng(seed)
    there = np.stack([np.ones(len(clips.labels)), draw.random(len(clips.labels)) < 0.7], 1) > 0
    numbers = np.unique(clips.speakers, return_inverse=True)[1]
    usable = np.flatnonzero(numbers != 3)
    rows = draw.choice(usable, 40)
    versions = np.where(there[rows, 1], 1, 0)
    how = HistorySampling(first=first, single=single, dominated=1 - single)
    drawn, kinds = Histories(numbers, clips.labels, there, usable, HEARD).draw(
        rows, versions, how, draw
    )
    assert drawn.shape == (40, HEARD)
    for row, version, heard, kind in zip(rows, versions, drawn, kinds, strict=True):
        heard = heard[heard != NONE]
        assert (numbers[heard] == numbers[row]).all() and there[heard, version].all()
        if kind == SINGLE:
            assert len(heard) and (clips.labels[heard] == clips.labels[row]).all()
        if not len(heard):
            assert kind == OTHER


def test_streams_are_causal_and_hold_every_clip_once() -> None:
    clips = made_up(3, 4)
    heard, counts = streams(clips.speakers, HEARD, seed=1)
    for speaker in np.unique(clips.speakers):
        own = np.flatnonzero(clips.speakers == speaker)
        assert sorted(counts[own].tolist()) == list(range(len(own)))
        order = own[np.argsort(counts[own])]
        for place, row in enumerate(order):
            expected = order[max(0, place - HEARD) : place].tolist()
            assert heard[row][heard[row] != NONE].tolist() == expected
    alone, _ = streams(clips.speakers, HEARD, 1, clips.labels)
    for row, before in enumerate(alone):
        before = before[before != NONE]
        assert (clips.labels[before] == clips.labels[row]).all()


@pytest.mark.parametrize("wrong", [{"first": 2.0}, {"single": 0.8, "dominated": 0.5}])
def test_impossible_histories_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        HistorySampling(**wrong)


# --- the network ---


def network(seed: int = 0) -> VoiceNetwork:
    torch.manual_seed(seed)
    model = VoiceNetwork(TINY, SIZE)
    clips = made_up()
    clean = clips.features[:, 0]
    model.learn_scale(clean, clips.labels, clips.speakers, np.ones(len(clean)))
    return model.eval()


def test_emotions_vary_by_one_within_and_more_between_along_their_directions() -> None:
    clips = made_up()
    features = clips.features[:, 0].astype(np.float64)
    along = features @ emotion_directions(features, clips.labels, clips.speakers)
    speaker = clips.speakers == clips.speakers[0]
    within = [along[speaker & (clips.labels == k)].var(0).mean() for k in set(clips.labels)]
    assert np.mean(within) < 2 < along[speaker].var(0).mean()


def test_what_is_masked_or_in_another_order_has_no_influence() -> None:
    model = network()
    draw = torch.Generator().manual_seed(0)
    voice, heard = torch.randn(3, SIZE, generator=draw), torch.randn(3, 5, SIZE, generator=draw)
    seen = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 1]]) > 0
    with torch.inference_mode():
        expected = model(voice, heard, seen)
        spoiled = torch.where(seen[..., None], heard, 1e3)
        torch.testing.assert_close(model(voice, spoiled, seen), expected)
        other = torch.tensor([4, 2, 0, 1, 3])
        torch.testing.assert_close(model(voice, heard[:, other], seen[:, other]), expected)
    torch.testing.assert_close(expected.exp().sum(1), torch.ones(3), atol=1e-3, rtol=0)


def test_the_part_equals_torch_on_what_the_recogniser_gives(tmp_path: Path) -> None:
    part = VoiceEnsemble([network(0), network(1)]).eval()
    export_voice(part, tmp_path / "audio.onnx", SIZE, HEARD)
    draw = np.random.default_rng(0)
    voices = [
        HeardVoice(f"u{n}", str(n % 2), draw.normal(size=SIZE).astype(np.float32)) for n in range(7)
    ]
    inputs = voice_inputs(voices, tuple(voices), HEARD)
    got = Network(tmp_path / "audio.onnx")(inputs)["embedding"]
    with torch.inference_mode():
        expected = part(*(torch.from_numpy(array) for array in inputs.values())).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


# --- measuring and training ---


def test_recall_is_decided_among_the_named_labels_only() -> None:
    log = np.log(np.full((3, len(LABELS)), 0.01, np.float32))
    log[:, LABELS.index("disgust")] = 0.0
    log[:2, ANGER] = -0.1
    labels = np.array([ANGER, LABELS.index("joy"), LABELS.index("disgust")])
    assert recalled(log, labels, FOUR) == {"joy": 0.0, "anger": 1.0}
    assert recalled(log, labels, LABELS)["anger"] == 0.0


def test_folds_keep_speakers_whole_and_have_every_corpus() -> None:
    clips = made_up(24, 2)
    folds = speaker_folds(clips, 4)
    for speaker in np.unique(clips.speakers):
        assert len(set(folds[clips.speakers == speaker])) == 1
    assert all(set(clips.corpora[folds == n]) == {"c0", "c1", "c2"} for n in range(4))


def test_every_label_of_every_corpus_counts_alike() -> None:
    clips = made_up(6, 2)
    chosen = np.ones(len(clips.labels), bool)
    chosen[np.flatnonzero((clips.corpora == "c0") & (clips.labels == ANGER))[1:]] = False
    weights = balance(clips, chosen)
    sums = [
        weights[(clips.corpora == c) & (clips.labels == k)].sum()
        for c in ("c0", "c1", "c2")
        for k in np.unique(clips.labels)
    ]
    np.testing.assert_allclose(sums, 1 / 12)
    assert not weights[~chosen].any()


def with_ordinary(clips: VoiceClips, seed: int = 1) -> VoiceClips:
    """The clips, and as many of speakers who never show an emotion, in a channel of their own."""
    draw = np.random.default_rng(seed)
    count = len(clips.labels)
    far = np.zeros(SIZE)
    far[4:8] = 8.0
    # What they say varies along the directions of emotions, too, but less than acted emotions do.
    more = clips.features[:, 0] * 0.5 + far + draw.normal(0, 0.5, (count, SIZE))
    neutral = np.full(count, LABELS.index("neutral"))
    return VoiceClips(
        np.concatenate([clips.features, more[:, None].astype(np.float32)]),
        np.concatenate([clips.labels, neutral]),
        np.concatenate([clips.corpora, np.full(count, "ordinary-meetings")]),
        np.concatenate([clips.speakers, np.char.add("ordinary-", clips.speakers)]),
        np.concatenate([clips.sexes, np.full(count, "")]),
        clips.negatives,
    )


def test_ordinary_speech_is_shown_in_its_share_and_changes_no_fold() -> None:
    acted = made_up(12, 2)
    clips = with_ordinary(acted)
    assert clips.is_ordinary.sum() == len(acted.labels)
    chosen = np.ones(len(clips.labels), bool)
    assert balance(clips, chosen, 0.3)[clips.is_ordinary].sum() == pytest.approx(0.3)
    assert not balance(clips, chosen)[clips.is_ordinary].any()
    without = speaker_folds(acted, 4)
    np.testing.assert_array_equal(speaker_folds(clips, 4)[: len(acted.labels)], without)


def test_training_with_ordinary_speech_lowers_its_false_alarms(tmp_path: Path) -> None:
    clips = with_ordinary(made_up(12))
    alarms, recall = [], []
    for share in (0.0, 0.3):
        folds = speaker_folds(clips, 6)
        own = sections(10, ordinary=share)
        model = fit_voice(clips, folds > 1, folds == 1, own, 0, tmp_path / str(share))
        test = measure(model, clips.of(folds == 0), HEARD)["test"]
        alarms.append(test["false_alarms"])
        recall.append(test["four_after_six"])
    assert alarms[1] < 0.1 < alarms[0]
    assert recall[1] > recall[0] - 0.1


def test_neutral_is_lowered_as_far_as_false_alarms_allow() -> None:
    class Always(torch.nn.Module):
        """Says neutral or anger, by the first number."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(
            self, voice: torch.Tensor, heard: torch.Tensor, is_heard: torch.Tensor
        ) -> torch.Tensor:
            log = torch.full((len(voice), len(LABELS)), -20.0)
            log[:, 0], log[:, ANGER] = voice[:, 0], 0.0
            return (log * self.scale).log_softmax(1)

    clips = with_ordinary(made_up(9, 3))
    clips.features[:, 0, 0] = 1.02  # anger wins as soon as neutral is lowered by more
    assert prior_of(Always(), clips, HEARD) == 1.0
    assert prior_of(Always(), clips.of(~clips.is_ordinary), HEARD) == 0.0
    ones = (
        torch.zeros(2, SIZE),
        torch.zeros(2, HEARD, SIZE),
        torch.zeros(2, HEARD, dtype=torch.bool),
    )
    with torch.inference_mode():
        plain, lowered = (VoiceEnsemble([network()], prior)(*ones) for prior in (0.0, 1.0))
    assert (lowered[:, 0] < plain[:, 0]).all() and torch.allclose(
        lowered.exp().sum(1), torch.ones(2)
    )


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[VoiceClips, dict[str, object]]:
    clips = made_up(18)
    out = tmp_path_factory.mktemp("voice")
    splits, content = hold_out(clips, "c2", sections(15, seeds=(0, 1)), out)
    return clips, write_run(out, LABELS, splits, content)


def test_a_corpus_that_was_left_out_is_heard_better_the_more_was_heard(
    learnt: tuple[VoiceClips, dict[str, object]],
) -> None:
    clips, result = learnt
    test = result["test"]
    assert isinstance(test, dict) and result["clips"] == (clips.corpora == "c2").sum()
    assert test["four_after_six"] > 0.85 > test["four_first"] + 0.05
    assert set(result["seeds"]) == {"0", "1"} and set(result["deviation"]) == set(test)
    assert result["test_report"]["n"] == result["clips"]  # for `erc evaluate`


def test_leaving_out_never_looks_at_the_corpus(tmp_path: Path) -> None:
    clips = made_up(9, 3)
    spoiled = made_up(9, 3)
    spoiled.features[clips.corpora == "c1"] = 1e3
    for name, used in (("a", clips), ("b", spoiled)):
        hold_out(used, "c1", sections(1), tmp_path / name)
    one, other = (tmp_path / name / "seed-0" / "best.safetensors" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_versions_that_are_missing_are_never_drawn(tmp_path: Path) -> None:
    clips = made_up(9, 3)
    changed = clips.features + np.float32(0.1)
    changed[::2] = np.nan
    features = np.concatenate([clips.features, changed], axis=1)
    both = VoiceClips(
        features, clips.labels, clips.corpora, clips.speakers, clips.sexes, clips.negatives
    )
    _, result = hold_out(both, "c0", sections(2), tmp_path)
    assert 0 <= result["test"]["four_changed"] <= 1


def test_measuring_sees_what_the_recogniser_would() -> None:
    clips, model = made_up(3, 3), network()
    heard, _ = streams(clips.speakers, HEARD, 0)
    row = 7
    before = [clips.features[n, 0] for n in heard[row] if n != NONE]
    said = [HeardVoice(f"u{n}", "0", features) for n, features in enumerate(before)]
    now = HeardVoice("now", "0", clips.features[row, 0])
    inputs = voice_inputs([now], tuple(said), HEARD)
    with torch.inference_mode():
        expected = model(*(torch.from_numpy(array) for array in inputs.values())).numpy()
    logits = answers(model, clips.features[:, 0], heard)
    np.testing.assert_allclose(logits[row], expected[0], atol=1e-5)
    assert measure(model, clips, HEARD)["clips"] == len(clips.labels)


# --- sound ---


def sound(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.3, 0.3, round(seconds * SAMPLE_RATE)).astype(np.float32)


def test_a_telephone_cuts_what_is_outside_its_band() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    levels = []
    for hertz in (100, 1000, 6000):
        narrow = telephone_band(np.sin(2 * np.pi * hertz * time).astype(np.float32))
        levels.append(float(np.sqrt(np.mean(narrow[1000:-1000] ** 2))))
    assert levels[0] < 0.02 and levels[1] > 0.7 and levels[2] < 0.08


@given(st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_any_channel_gives_finite_sound_of_the_same_length(seed: int) -> None:
    generator = np.random.default_rng(seed)
    carried = Channel.drawn(ChannelAugmentation(), generator).carry(sound(0.5, seed), generator)
    assert len(carried) == SAMPLE_RATE // 2
    assert np.isfinite(carried).all() and np.abs(carried).max() <= 1


def test_a_channel_of_nothing_changes_nothing() -> None:
    clean = sound()
    np.testing.assert_array_equal(Channel().carry(clean, np.random.default_rng(0)), clean)


def test_sounds_of_nobody_are_sounds() -> None:
    clips = no_voices(10, np.random.default_rng(0))
    assert all(np.isfinite(s).all() and 0 < np.abs(s).max() <= 0.71 for s in clips)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setattr(voice_features, "NO_VOICES", 5)
    data = tmp_path / "data"
    for actor in range(1, 11):
        for emotion in (1, 3, 4, 5):
            name = f"03-01-{emotion:02d}-01-01-01-{actor:02d}.flac"
            file = data / "ravdess_speech_16k" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
            tone = np.sin(2 * np.pi * 150 * emotion * time) + 0.1 * sound(0.5, actor)
            soundfile.write(file, 0.3 * tone, SAMPLE_RATE)
    for number, code in enumerate("WTFN"):
        for speaker in ("03", "08", "09", "10"):
            file = data / "emodb" / f"{speaker}a01{code}a.flac"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, sound(0.6, int(speaker) + 20 * number), SAMPLE_RATE)
    parts = {
        "voice": {"corpora": ["ravdess", "emodb"], "heard": HEARD, "seeds": [0]},
        "network": {"hidden": 8},
        "trainer": {"epochs": 1, "batch_size": 16, "learning_rate": 0.01},
    }
    return Recipe("voice", parts, tmp_path / "runs" / "audio", data)


def test_training_exports_a_part_and_embeddings_of_held_out_speakers(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = {**recipe.sections["voice"], "ordinary": 0.3}  # there is none: a warning
    train(Recipe("voice", {**recipe.sections, "voice": voice}, recipe.out, recipe.data))
    assert "ordinary_speech is missing" in capsys.readouterr().out
    best = recipe.out / "best"
    figures = json.loads((best / "metrics.json").read_text())
    assert figures["part"]["features"] == 192 and figures["part"]["heard"] == HEARD
    assert not set(figures["held_out"]["dev"]) & set(figures["held_out"]["test"])
    embedded = load_embeddings(best / "embeddings.safetensors")
    total = sum(len(part.labels) for part in embedded.values())
    assert total == 4 * (40 + 16)  # four conditions of each clip
    assert all(part.embeddings.shape[1] == len(LABELS) for part in embedded.values())
    # the part answers for speakers whom it never heard; others did for the rest
    part = Network(best / "audio.onnx")
    for name, examples in load_examples(best / "examples.safetensors").items():
        answer = np.concatenate([part(inputs)["embedding"] for inputs in examples.inputs()])
        np.testing.assert_allclose(answer, embedded[name].embeddings, atol=1e-4)
        np.testing.assert_array_equal(examples.labels, embedded[name].labels)
        np.testing.assert_allclose(np.exp(answer).sum(1), 1, atol=1e-3)


def test_clips_are_listened_to_once_and_anew_when_something_changed(recipe: Recipe) -> None:
    clips = corpora.clips(["emodb"], recipe.data).clips[:4]
    said: list[str] = []
    file = recipe.out / "features.safetensors"

    def listen(how: ChannelAugmentation) -> VoiceClips:
        return voice_clips(clips, how, "speaker-campplus", file, said.append)

    first, again = listen(ChannelAugmentation()), listen(ChannelAugmentation())
    assert len(said) == 1
    np.testing.assert_array_equal(first.features, again.features)
    assert np.isfinite(first.features[:, 0]).all()
    listen(ChannelAugmentation(versions=1))
    assert len(said) == 2
    file.write_bytes(b"broken")
    listen(ChannelAugmentation())
    assert len(said) == 3


def test_a_corpus_that_the_recipe_lacks_cannot_be_left_out(recipe: Recipe) -> None:
    wrong = Recipe("voice", recipe.sections, recipe.out, recipe.data, leave_out="nemo")
    with pytest.raises(RecipeError, match=r"'nemo'.*ravdess"):
        train(wrong)


def test_an_unknown_corpus_is_named(recipe: Recipe) -> None:
    parts = {**recipe.sections, "voice": {"corpora": ["radio"]}}
    with pytest.raises(RecipeError, match="'radio'"):
        train(Recipe("voice", parts, recipe.out, recipe.data))
