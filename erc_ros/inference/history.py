"""History of a conversation: a frozen value, and pure functions that extend it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from erc_ros.encoders.text import Block, speaker_index
from erc_ros.inference.voice import HeardVoice, attribute
from erc_ros.values.utterance import MODALITIES, Utterance

Embedding = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class UtteranceEmbeddings:
    """Embeddings of one utterance; None if the modality is missing."""

    utterance_id: str
    speaker: int  # 0 = unknown, else 1..9
    text: Embedding | None
    audio: Embedding | None
    visual: Embedding | None

    @property
    def modalities(self) -> tuple[bool, bool, bool]:
        return self.text is not None, self.audio is not None, self.visual is not None


@dataclass(frozen=True, slots=True)
class WindowEntry:
    """One utterance in the window of the text encoder."""

    utterance_id: str
    block: Block


@dataclass(frozen=True, slots=True, eq=False)
class ConversationHistory:
    """History of a conversation.

    speakers: at most 9 speaker ids in the order of their first utterance.
    utterances: embeddings of the last utterances for the fusion, oldest first.
    window: utterances in the window of the text encoder, oldest first.
    unread: number of utterances at the end of `window` that have to be encoded again.
    voices: speaker embeddings for a voice part (`inference.voice`). is_unheard: whether the speaker
        of some of them was corrected after they were encoded.
    """

    conversation_id: str = ""
    speakers: tuple[str, ...] = ()
    utterances: tuple[UtteranceEmbeddings, ...] = ()
    window: tuple[WindowEntry, ...] = ()
    unread: int = 0
    voices: tuple[HeardVoice, ...] = ()
    is_unheard: bool = False


def enter(history: ConversationHistory, utterance: Utterance) -> tuple[ConversationHistory, int]:
    """Return the history before `utterance`, and the index of its speaker (0 = unknown).

    A new conversation begins with an empty history. An utterance with a corrected text is removed
    from the history, because it is added again.
    """
    if utterance.conversation_id != history.conversation_id:
        history = ConversationHistory(utterance.conversation_id)
    known, speaker = speaker_index(history.speakers, utterance.speaker_id)
    history = replace(
        history,
        speakers=known,
        utterances=_others(history.utterances, utterance.utterance_id),
        window=_others(history.window, utterance.utterance_id),
    )
    return history, speaker


_Part = TypeVar("_Part", UtteranceEmbeddings, WindowEntry)


def _others(parts: tuple[_Part, ...], utterance_id: str) -> tuple[_Part, ...]:
    return tuple(part for part in parts if not utterance_id or part.utterance_id != utterance_id)


def step(
    history: ConversationHistory, embeddings: UtteranceEmbeddings, context: int
) -> ConversationHistory:
    """Append the embeddings of an utterance, and keep the last `context` utterances.

    An utterance without any modality is not appended, because it has no information.
    """
    if not any(embeddings.modalities):
        return history
    return replace(history, utterances=(*history.utterances, embeddings)[-context:])


def relabel(
    history: ConversationHistory,
    utterance_ids: Collection[str],
    speaker_id: str,
    said_by: Callable[[int, Block], Block],
) -> tuple[ConversationHistory, int]:
    """Assign utterances to another speaker; also return how many are in the history.

    The text encoder has to encode the first of them and all later ones again. Speaker indices do
    not change; a new speaker gets the next index.

    Args:
        said_by: see `TextPrompt.said_by`.
    """
    if {voice.utterance_id for voice in history.voices} & set(utterance_ids) - {""}:
        voices = attribute(history.voices, utterance_ids, speaker_id)
        history = replace(history, voices=voices, is_unheard=True)
    parts: tuple[UtteranceEmbeddings | WindowEntry, ...] = (*history.utterances, *history.window)
    known_ids = {part.utterance_id for part in parts} & set(utterance_ids) - {""}
    if not known_ids:
        return history, 0
    known, speaker = speaker_index(history.speakers, speaker_id)
    window = tuple(
        replace(entry, block=said_by(speaker, entry.block))
        if entry.utterance_id in known_ids
        else entry
        for entry in history.window
    )
    changed = [one is not other for one, other in zip(window, history.window, strict=True)]
    history = replace(
        history,
        speakers=known,
        utterances=tuple(
            replace(each, speaker=speaker) if each.utterance_id in known_ids else each
            for each in history.utterances
        ),
        window=window,
        unread=max(history.unread, len(window) - changed.index(True) if any(changed) else 0),
    )
    return history, len(known_ids)


def fusion_input(
    utterances: tuple[UtteranceEmbeddings, ...], sizes: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Return the input of the fusion network for a conversation of U utterances.

    Missing embeddings are zeros. sizes: sizes of the embeddings by modality, and the names of the
    other inputs (`modalities`, `speakers`, `valid`), whose sizes are not used.
    """
    count = len(utterances)
    inputs: dict[str, NDArray[Any]] = {
        "modalities": np.array([[each.modalities for each in utterances]], bool),
        "speakers": np.array([[each.speaker for each in utterances]], np.int64),
        "valid": np.ones((1, count), bool),
    }
    for modality in MODALITIES:
        if modality in sizes:
            rows = inputs[modality] = np.zeros((1, count, sizes[modality]), np.float32)
            for place, embeddings in enumerate(utterances):
                embedding: Embedding | None = getattr(embeddings, modality)
                if embedding is not None:
                    rows[0, place] = embedding
    return {name: inputs[name] for name in sizes}


def leave_one_out_inputs(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Repeat a conversation four times: unchanged, and without text, audio or visual at the end."""
    repeated = {name: np.repeat(array, 4, axis=0) for name, array in inputs.items()}
    repeated["modalities"][[1, 2, 3], -1, [0, 1, 2]] = False
    return repeated
