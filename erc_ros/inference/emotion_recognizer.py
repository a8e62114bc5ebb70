"""Streaming emotion recognition: one estimate per utterance.

Two worker threads encode audio and faces while the caller encodes the text (ONNX Runtime releases
the GIL). `prepare` encodes a draft before its text is final. For the final utterance, only the new
part of the text and the fusion have to be computed then.
"""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from erc_ros.dialogue.non_speech import spoken_words
from erc_ros.encoders.language import LanguageCheck, TextExclusion
from erc_ros.encoders.text import Block, Turn
from erc_ros.inference import evidence, reliability
from erc_ros.inference.backend import open_network
from erc_ros.inference.bundle import (
    MODALITY_LOGITS,
    Bundle,
    fusion_sizes,
    speaker_network,
    text_prompt,
)
from erc_ros.inference.estimate import (
    Estimate,
    FusionOutput,
    estimate,
    leave_one_out_contributions,
    unestimated_influence,
    uniform_output,
)
from erc_ros.inference.history import (
    ConversationHistory,
    Embedding,
    UtteranceEmbeddings,
    WindowEntry,
    enter,
    fusion_input,
    leave_one_out_inputs,
    relabel,
    step,
)
from erc_ros.inference.inputs import audio_inputs, unusable, visual_inputs
from erc_ros.inference.manifest import AudioPart, VisualPart, VoiceAudio
from erc_ros.inference.reliability import Memory
from erc_ros.inference.text_encoders import TextEncoder, open_text_encoder
from erc_ros.inference.voice import HeardVoice, VoiceFeatures, remember, voice_inputs
from erc_ros.networks.network import Device
from erc_ros.networks.session import signature
from erc_ros.values.events import SpeakerCorrected
from erc_ros.values.utterance import MODALITIES, SAMPLE_RATE, FaceCrop, Utterance
from erc_ros.values.why import distrust_sentence

DRAFTS = 8  # maximum number of prepared drafts


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """An encoded modality of one utterance.

    embedding: None if missing. duration: ns. note: reason why it is missing, or "". excluded: the
    `TextExclusion` of a text that is not used.
    """

    embedding: Embedding | None
    duration: int = 0
    note: str = ""
    excluded: str = ""


MISSING = Encoded(None)
_Key = tuple[str, str, int, int, int, int]
_Prepared = tuple["Future[Encoded]", "Future[Encoded]"]


class EmotionRecognizer:
    """Recognizes the emotions in one conversation after another. Not thread-safe: one caller.

    Memory is bounded: the last `bundle.fusion.context` utterances as embeddings, the last
    `bundle.text.max_tokens` tokens of text with their keys and values, and the encoded audio and
    faces of at most 8 drafts.

    Args:
        bundle: from `load_bundle`.
        device: "auto", "tensorrt", "cuda" or "cpu"; see `backend.open_network`.

    Raises:
        NetworkError: the device is not available.
    """

    def __init__(self, bundle: Bundle, device: str | Device = "cpu") -> None:
        self.bundle = bundle
        self.networks = {
            name: open_network(part.file, device) for name, part in bundle.parts.items()
        }
        self._prompt = text_prompt(bundle.text)
        self._language = LanguageCheck(bundle.languages, self._prompt.unknown_letters)
        self._text = open_text_encoder(self.networks["text"], bundle.text, self._prompt)
        self._catching_up: Future[None] = Future()  # `catch_up` of the text encoder
        self._catching_up.set_result(None)
        self._fusion = self.networks["fusion"]
        self._fusion_sizes = fusion_sizes(bundle)
        self._voice = _voice_features(bundle, device)
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="encoder")
        self._drafts: OrderedDict[_Key, _Prepared] = OrderedDict()
        self._history = ConversationHistory()
        config = bundle.reliability
        self._memory = None if config is None else reliability.start(config)
        self._has_modality_logits = MODALITY_LOGITS in signature(bundle.fusion.file).outputs

    def reopen(self) -> None:
        """Select the best device of each network again; may be called from any thread."""
        for network in self.networks.values():
            network.reopen()

    def warm_up(self) -> None:
        """Run all networks once at full size, because first calls are slow; no state is kept."""
        noise = np.random.default_rng(0)
        audio, visual = self.bundle.audio, self.bundle.visual
        samples = 0 if audio is None else int(audio.max_seconds * SAMPLE_RATE)
        pictures = noise.integers(
            0, 255, (0 if visual is None else visual.max_images, 96, 96, 3), np.uint8
        )
        utterance = Utterance(
            conversation_id="",
            utterance_id="",
            start=0,
            end=0,
            text="warm " * self.bundle.text.max_tokens,
            audio=noise.integers(-9000, 9000, samples, np.int16),
            faces=tuple(FaceCrop(0, picture) for picture in pictures),
        )
        history = ConversationHistory()
        memory = self._memory
        for _ in range(self.bundle.fusion.context):
            coming = self._encode(utterance)
            history, memory, _ = self._recognise(history, memory, utterance, *coming)
        self._text_encoder().forget()

    def prepare(self, draft: Utterance) -> None:
        """Encode audio, faces and partial text of an utterance whose text is not final.

        Returns when the text is encoded; audio and faces are encoded in the background. The
        results are used for a final utterance with the same ids, span, audio and faces, or with
        the same text.
        """
        self._reread(draft.conversation_id)
        history, speaker = enter(self._history, draft)
        self._encode_text(history, speaker, draft)
        key = _key(draft)
        if key in self._drafts:
            return
        self._drafts[key] = self._encode(draft)
        while len(self._drafts) > DRAFTS:
            self._forget(next(iter(self._drafts)))

    def feed(self, utterance: Utterance) -> Estimate:
        """Estimate the emotion of an utterance.

        A final utterance becomes history of the following ones; a draft (`is_final` False) does
        not. A new conversation id begins with an empty history. These inputs count as missing, with
        a reason in `Estimate.notes`: text in an unsupported language or without a word of the
        vocabulary, audio shorter than 0.3 s or silent, invalid images, and embeddings that are not
        finite.
        """
        begin = time.perf_counter_ns()
        self._reread(utterance.conversation_id)
        key = _key(utterance)
        prepared = self._drafts.get(key) or self._encode(utterance)
        if utterance.is_final:
            self._drafts.pop(key, None)
        history, memory, answered = self._recognise(
            self._history, self._memory, utterance, *prepared, begin=begin
        )
        if utterance.is_final:
            self._history, self._memory = history, memory
        # An utterance without text has not waited for the previous `catch_up`.
        self._catching_up = self._workers.submit(self._text_encoder().catch_up)
        return answered

    def correct(self, correction: SpeakerCorrected) -> int:
        """Assign earlier utterances to another speaker, for the following estimates.

        The effect is the same as with the right speaker from the start, except for the order of the
        speaker indices and for texts that are no longer in the window of the encoder. Earlier
        estimates are not repeated.

        Returns:
            The number of corrected utterances. Ignored are utterances that are not in the history,
            of another conversation, and drafts, whose final utterance has its own speaker.
        """
        if correction.conversation_id != self._history.conversation_id:
            return 0
        self._history, count = relabel(
            self._history, correction.utterance_ids, correction.after, self._prompt.said_by
        )
        return count

    def reset(self, conversation_id: str) -> None:
        """Delete the history and drafts of a conversation, but not of others."""
        if self._history.conversation_id == conversation_id:
            self._history = ConversationHistory()
            self._text_encoder().forget()
        for key in [key for key in self._drafts if key[0] == conversation_id]:
            self._forget(key)

    def reset_reliability(self, modality: str = "") -> None:
        """Reset the estimated reliability of "audio", "visual" or both (""), for a new device."""
        config = self.bundle.reliability
        if config is None or self._memory is None:
            return
        if modality:
            self._memory = reliability.forget(config, self._memory, modality)
        else:
            self._memory = reliability.start(config)

    @property
    def reliability(self) -> dict[str, float]:
        """Return the estimated probabilities that "audio" and "visual" work; {} without them."""
        if self._memory is None:
            return {}
        estimated = self._memory.state.reliability.tolist()
        encoders = self.bundle.encoders
        return {
            name: value
            for name, value in zip(reliability.ESTIMATED, estimated, strict=True)
            if name in encoders
        }

    @property
    def distrust(self) -> tuple[str, ...]:
        """Return a sentence for each modality that is not trusted now."""
        config = self.bundle.reliability
        if config is None or self._memory is None:
            return ()
        return reliability.notes(config, self._memory.state, self.bundle.labels)

    def close(self) -> None:
        """Stop the worker threads."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> EmotionRecognizer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _text_encoder(self) -> TextEncoder:
        """Return the text encoder after its work on another thread is done."""
        self._catching_up.result()
        return self._text

    def _recognise(
        self,
        history: ConversationHistory,
        memory: Memory | None,
        utterance: Utterance,
        coming_audio: Future[Encoded],
        coming_visual: Future[Encoded],
        begin: int | None = None,
    ) -> tuple[ConversationHistory, Memory | None, Estimate]:
        begin = time.perf_counter_ns() if begin is None else begin
        history, speaker = enter(history, utterance)
        window, text = self._encode_text(history, speaker, utterance)
        audio, visual = coming_audio.result(), coming_visual.result()
        if isinstance(self.bundle.audio, VoiceAudio) and audio.embedding is not None:
            voice = HeardVoice(utterance.utterance_id, utterance.speaker_id, audio.embedding)
            audio = self._compare_voice(self.bundle.audio, history.voices, voice, audio)
            history = replace(history, voices=remember(history.voices, voice))
        embeddings = UtteranceEmbeddings(
            utterance.utterance_id, speaker, text.embedding, audio.embedding, visual.embedding
        )
        history = step(history, embeddings, self.bundle.fusion.context)
        if text.embedding is not None:
            entry = WindowEntry(utterance.utterance_id, window[-1])
            history = replace(history, window=(*history.window, entry)[-len(window) :])
        if memory is None:
            answer, fusion = self._fuse(history, embeddings)
        else:
            memory, answer, fusion = self._fuse_reliably(history, memory, embeddings, utterance)
        notes = [encoded.note for encoded in (text, audio, visual, fusion) if encoded.note]
        if answer.influence is not None:
            reasons = zip(MODALITIES, answer.influence.distrust, embeddings.modalities, strict=True)
            notes += [distrust_sentence(m, why) for m, why, is_there in reasons if why and is_there]
        latency = {
            "text": text.duration,
            "audio": audio.duration,
            "visual": visual.duration,
            "fusion": fusion.duration,
        }
        estimated = estimate(
            self.bundle,
            utterance,
            answer,
            (False, False, False) if fusion.note else embeddings.modalities,
            latency,
            time.perf_counter_ns() - begin,
            tuple(notes),
            text.excluded,
        )
        return history, memory, estimated

    def _encode(self, utterance: Utterance) -> _Prepared:
        audio, visual = self.bundle.audio, self.bundle.visual
        return (
            self._workers.submit(self._encode_audio, audio, utterance.audio)
            if audio is not None and len(utterance.audio)
            else _done(MISSING),
            self._workers.submit(self._encode_faces, visual, utterance.faces)
            if visual is not None and utterance.faces
            else _done(MISSING),
        )

    def _reread(self, conversation_id: str) -> None:
        """Encode texts in the context of the fusion again, from the first corrected one on.

        This is delayed until the next utterance or draft of the conversation. It takes at most
        `bundle.fusion.context` passes.
        """
        if conversation_id == self._history.conversation_id:
            self._listen_again()
        history = self._history
        if not history.unread or conversation_id != history.conversation_id:
            return
        blocks = tuple(entry.block for entry in history.window)
        fused_ids = {embeddings.utterance_id for embeddings in history.utterances} - {""}
        texts = {}
        for end in range(len(blocks) - history.unread + 1, len(blocks) + 1):
            utterance_id = history.window[end - 1].utterance_id
            if utterance_id in fused_ids:
                texts[utterance_id] = self._embed(blocks[:end]).embedding
        utterances = tuple(
            replace(each, text=texts.get(each.utterance_id, each.text))
            for each in history.utterances
        )
        self._history = replace(history, utterances=utterances, unread=0)

    def _encode_text(
        self, history: ConversationHistory, speaker: int, utterance: Utterance
    ) -> tuple[tuple[Block, ...], Encoded]:
        """Return the window that ends with the text of the utterance, and its embedding."""
        before = tuple(entry.block for entry in history.window)
        text = utterance.text.strip()
        if not text:
            return before, MISSING
        begin = time.perf_counter_ns()
        text, excluded = self._readable(text, utterance.locale)
        if excluded is not None:
            return before, Encoded(None, 0, excluded.explanation, excluded.value)
        window = self._prompt.slide(before, Turn(speaker, text))
        return window, self._embed(window, begin)

    def _readable(self, text: str, locale: str) -> tuple[str, TextExclusion | None]:
        """Return the part of a text to encode, or "" and the reason of its exclusion."""
        if self.bundle.languages:  # without stated languages, all texts are accepted
            text = spoken_words(text)
            if not text:
                return text, TextExclusion.NON_SPEECH
            if (excluded := self._language(text, locale)) is not None:
                return text, excluded
        return text, None if self._prompt.can_read(text) else TextExclusion.UNREADABLE

    def _embed(self, window: tuple[Block, ...], begin: int | None = None) -> Encoded:
        encoded = _timed(lambda: {"embedding": self._text_encoder()(window)[None]}, "text", begin)
        if encoded.embedding is None:
            self._text_encoder().forget()
        return encoded

    def _encode_audio(self, part: AudioPart, audio: NDArray[np.int16]) -> Encoded:
        if problem := unusable(audio):
            return Encoded(None, 0, problem)
        if isinstance(part, VoiceAudio):
            return self._hear_voice(audio)
        return _timed(lambda: self.networks["audio"](audio_inputs(part, audio)), "sound")

    def _hear_voice(self, audio: NDArray[np.int16]) -> Encoded:
        """Compute the speaker embedding of the audio, for which the speaker is not needed."""
        assert self._voice is not None
        begin = time.perf_counter_ns()
        features = self._voice(audio)
        duration = time.perf_counter_ns() - begin
        if features is None:
            return Encoded(None, duration, "there is no voice in the audio")
        return Encoded(features, duration)

    def _compare_voice(
        self, part: VoiceAudio, voices: tuple[HeardVoice, ...], voice: HeardVoice, encoded: Encoded
    ) -> Encoded:
        """Compute the embedding of a voice, relative to earlier utterances of its speaker."""
        inputs = voice_inputs([voice], voices, part.heard)
        compared = _timed(lambda: self.networks["audio"](inputs), "sound")
        return replace(compared, duration=compared.duration + encoded.duration)

    def _listen_again(self) -> None:
        """Encode the voices of corrected speakers in the context of the fusion again."""
        history, part = self._history, self.bundle.audio
        if not history.is_unheard or not isinstance(part, VoiceAudio):
            return
        ids = {each.utterance_id for each in history.utterances if each.audio is not None} - {""}
        voices = [voice for voice in history.voices if voice.utterance_id in ids]
        embeddings: dict[str, Embedding] = {}
        if voices:
            inputs = voice_inputs(voices, history.voices, part.heard)
            answer = self.networks["audio"](inputs)["embedding"]
            embeddings = {
                voice.utterance_id: row
                for voice, row in zip(voices, answer, strict=True)
                if np.isfinite(row).all()
            }
        utterances = tuple(
            replace(each, audio=embeddings.get(each.utterance_id, each.audio))
            for each in history.utterances
        )
        self._history = replace(history, utterances=utterances, is_unheard=False)

    def _encode_faces(self, part: VisualPart, crops: Sequence[FaceCrop]) -> Encoded:
        inputs, note = visual_inputs(part, crops)
        if inputs is None:
            return Encoded(None, 0, note)
        encoded = _timed(lambda: self.networks["visual"](inputs), "faces")
        return replace(encoded, note=encoded.note or note)

    def _fuse(
        self, history: ConversationHistory, embeddings: UtteranceEmbeddings
    ) -> tuple[FusionOutput, Encoded]:
        nothing = uniform_output(len(self.bundle.labels))
        if not any(embeddings.modalities):
            return nothing, MISSING
        begin = time.perf_counter_ns()
        inputs = fusion_input(history.utterances, self._fusion_sizes)
        several = sum(embeddings.modalities) > 1
        outputs = self._fusion(leave_one_out_inputs(inputs) if several else inputs)
        (logits, *left_out), weights = outputs["logits"][:, -1], outputs["weights"][0, -1]
        if not np.isfinite(logits).all():
            duration = time.perf_counter_ns() - begin
            return nothing, Encoded(None, duration, "the output of the fusion is not finite")
        if several:
            weights = leave_one_out_contributions(
                logits, np.array(left_out), embeddings.modalities, weights
            )
        influence = unestimated_influence(np.array(left_out)) if several else None
        output = FusionOutput(logits, weights, influence)
        return output, Encoded(None, time.perf_counter_ns() - begin)

    def _fuse_reliably(
        self,
        history: ConversationHistory,
        memory: Memory,
        embeddings: UtteranceEmbeddings,
        utterance: Utterance,
    ) -> tuple[Memory, FusionOutput, Encoded]:
        """Fuse the modalities by their reliability; return the updated memory as well."""
        config = self.bundle.reliability
        assert config is not None
        if not any(embeddings.modalities):
            return memory, uniform_output(len(self.bundle.labels)), MISSING
        begin = time.perf_counter_ns()
        key = utterance.conversation_id, utterance.utterance_id
        _, has_audio, has_visual = embeddings.modalities
        microphone = utterance.frame_id if has_audio else ""
        camera = utterance.faces[0].frame_id if has_visual and utterance.faces else ""
        memory = reliability.enter(config, memory, key, (microphone, camera))
        inputs = fusion_input(history.utterances, self._fusion_sizes)
        reading = evidence.read(
            self._fusion, config, inputs, embeddings.modalities, self._has_modality_logits
        )
        if reading is None:
            duration = time.perf_counter_ns() - begin
            failed = Encoded(None, duration, "the output of the fusion is not finite")
            return memory, uniform_output(len(self.bundle.labels)), failed
        state, output = evidence.fuse(config, memory.state, reading)
        memory = reliability.remember(memory, key, state)
        return memory, output, Encoded(None, time.perf_counter_ns() - begin)

    def _forget(self, key: _Key) -> None:
        for future in self._drafts.pop(key, ()):
            future.cancel()


def _voice_features(bundle: Bundle, device: str | Device) -> VoiceFeatures | None:
    """Return the speaker network of a bundle, on CUDA instead of TensorRT if that is selected."""
    if not isinstance(bundle.audio, VoiceAudio):
        return None
    device = "auto" if device == "tensorrt" or isinstance(device, Device) else device
    return VoiceFeatures(speaker_network(bundle), bundle.audio.max_seconds, device)


def _key(utterance: Utterance) -> _Key:
    return (
        utterance.conversation_id,
        utterance.utterance_id,
        utterance.start,
        utterance.end,
        zlib.crc32(np.ascontiguousarray(utterance.audio).data),  # may differ from the draft's
        len(utterance.faces),
    )


def _done(encoded: Encoded) -> Future[Encoded]:
    future: Future[Encoded] = Future()
    future.set_result(encoded)
    return future


def _timed(
    run: Callable[[], Mapping[str, Embedding]], what: str, begin: int | None = None
) -> Encoded:
    """Run a network with the output (N, E), and return the mean of the rows with its duration."""
    begin = time.perf_counter_ns() if begin is None else begin
    embedding: Embedding = run()["embedding"].mean(axis=0)
    duration = time.perf_counter_ns() - begin
    if not np.isfinite(embedding).all():
        return Encoded(None, duration, f"the embedding of the {what} is not finite")
    return Encoded(embedding, duration)
