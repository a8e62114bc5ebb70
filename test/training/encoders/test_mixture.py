"""Several corpora for one classifier."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from erc_ros.training.datasets.utterances import (  # noqa: E402
    LABELS,
    Conversation,
    LabelledUtterance,
    Split,
)
from erc_ros.training.encoders.text.mixture import (  # noqa: E402
    after_another,
    in_our_labels,
    in_turns,
    portion,
    read_corpus,
    repeated,
    thinned,
)
from erc_ros.training.losses import cross_entropy_among  # noqa: E402

CHATS = ("others", "happy", "sad", "angry")


def chat(label: int | None, text: str = "Really?") -> Conversation:
    turns = (LabelledUtterance("Hi.", 1, None, 0), LabelledUtterance(text, 2, label, 1))
    return Conversation("test/0", turns)


def test_other_labels_become_ours_or_several_of_ours() -> None:
    corpus = in_our_labels("emocontext", Split("test", (chat(0), chat(1), chat(3)), CHATS))
    others, happy, angry = (c.utterances[1] for c in corpus.conversations)
    names = {LABELS[index] for index in others.among}
    assert others.label is None and names == {"neutral", "surprise", "fear", "disgust"}
    assert (happy.label, angry.label) == (LABELS.index("joy"), LABELS.index("anger"))
    assert corpus.truth() == [0, 1, 3]
    assert not corpus.conversations[0].utterances[0].is_labelled


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValueError, match="'bored'"):
        in_our_labels("emocontext", Split("test", (chat(0),), ("bored",)))
    with pytest.raises(ValueError, match="'meldd'"):
        read_corpus("meldd", Path(), "train")


def test_epochs_go_through_a_corpus_before_they_repeat_it() -> None:
    talks = [Conversation(str(n), chat(1).utterances) for n in range(8)]
    parts = [{c.name for c in portion(talks, 0.25, epoch, seed=3)} for epoch in range(4)]
    assert [len(part) for part in parts] == [2] * 4 and len(set().union(*parts)) == 8
    assert {c.name for c in portion(talks, 0.25, 4, seed=3)} == parts[0]
    twice = [c.name for c in portion(talks, 2, 0, seed=3)]
    assert sorted(twice) == sorted([c.name for c in talks] * 2)


def test_the_first_sentences_of_a_comment_become_history() -> None:
    comment = LabelledUtterance("I failed. Again! What a day.", 1, 3, 0)
    seen = set()
    for seed in range(9):
        turned = in_turns(Conversation("x", (comment,)), random.Random(seed))
        before, last = turned.utterances
        assert (before.label, last.label, last.speaker) == (None, 3, 1)
        assert f"{before.text} {last.text}" == comment.text
        seen.add(last.text)
    assert seen == {"Again! What a day.", "What a day."}
    for text in ("One sentence only.", "No end", "Well... !", ""):
        alone = Conversation("x", (LabelledUtterance(text, 1, 3, 0),))
        assert in_turns(alone, random.Random(0)) is alone
    assert in_turns(chat(1), random.Random(0)) == chat(1)


def test_a_comment_is_said_again_and_means_the_same() -> None:
    comment = LabelledUtterance("The tap drips.", 1, 0, 0)
    rng, lengths = random.Random(0), set()
    for _ in range(50):
        turns = repeated(Conversation("x", (comment,)), rng).utterances
        lengths.add(len(turns))
        assert [(u.text, u.speaker, u.label, u.index) for u in turns] == [
            ("The tap drips.", 1, 0, place) for place in range(len(turns))
        ]
    assert lengths == {2, 3, 4, 5, 6}
    assert repeated(chat(1), rng) == chat(1), "a conversation stays as it is"


def test_only_turns_without_a_label_are_left_out() -> None:
    assert thinned(chat(1), 1.0, random.Random(0)).utterances == chat(1).utterances[1:]
    assert thinned(chat(1), 0.0, random.Random(0)) == chat(1)
    nothing = chat(None)
    assert thinned(nothing, 1.0, random.Random(0)) == nothing, "a conversation is never empty"


def test_one_of_several_labels_is_right() -> None:
    logits = torch.tensor([[2.0, 1.0, -1.0]], requires_grad=True)
    known = torch.tensor([[0.0, 1.0, 0.0]])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([1]))
    assert torch.allclose(cross_entropy_among(logits, known), expected)
    either = cross_entropy_among(logits, torch.tensor([[0.0, 1.0, 1.0]]))
    assert torch.allclose(either, -logits.softmax(1)[0, 1:].sum().log())
    either.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[0, 0] > 0 > logits.grad[0, 1]
    shares = torch.tensor([[0.5, 0.25, 0.25]])
    soft = torch.nn.functional.cross_entropy(logits, shares)
    assert torch.allclose(cross_entropy_among(logits, shares), soft)


def test_a_conversation_after_another_has_its_last_turns_as_history() -> None:
    talk = chat(2)
    labels = [u.label for u in talk.utterances]
    other = Conversation(
        "other",
        tuple(LabelledUtterance(f"then {n}", (1, 2, 0)[n], n, n) for n in range(3)),
    )
    lengths, speakers = set(), set()
    for seed in range(30):
        joined = after_another(talk, other, random.Random(seed)).utterances
        count = len(joined) - len(labels)
        before, now = joined[:count], joined[count:]
        assert [u.text for u in before] == [u.text for u in other.utterances[-count:]]
        assert not any(u.is_labelled or u.votes for u in before) and before[-1].speaker == 0
        assert [(u.text, u.label) for u in now] == [(u.text, u.label) for u in talk.utterances]
        assert len({u.speaker for u in now}) == len({u.speaker for u in talk.utterances})
        lengths.add(count)
        speakers.add(bool({u.speaker for u in before} & {u.speaker for u in now} - {0}))
    assert lengths == {1, 2, 3} and speakers == {True, False}
