"""Speakers of the diarization as voices of ROS4HRI: `voices/...` and `candidate_matches`.

Each speaker of a conversation is a voice until the conversation ends; its id does not persist.
The node's worker calls all methods except `look`, which the executor calls.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Bool

from erc_ros.adapters import OWN_VOICE, message_class
from erc_ros.nodes.managed_node import ManagedNode
from erc_ros.nodes.matching_qos import LATCHED_QOS
from erc_ros.nodes.messages import to_time
from erc_ros.nodes.tracked_faces import IDS, TrackedFaces, is_name
from erc_ros.pipeline import PerceptionEvent
from erc_ros.values.errors import ErcValueError
from erc_ros.values.events import (
    ConversationEnded,
    SpeakerCorrected,
    TextCorrected,
    UtteranceEvent,
)
from erc_ros.values.nanoseconds import NS
from erc_ros.values.utterance import Utterance

SPEECH, MATCH = "hri_msgs/msg/LiveSpeech", "hri_msgs/msg/IdsMatch"
AUDIO = "audio_common_msgs/msg/AudioData"
PERSON, FACE, VOICE = 1, 2, 4  # kinds of hri_msgs/IdsMatch
MATCH_QOS = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
LIST_PERIOD = NS  # between two lists of the voices, for late subscribers without history
# Messages of a new voice wait this long for a subscriber: pyhri subscribes when it is listed.
INTRODUCTION = NS // 2
REMEMBERED = 64  # utterances of a voice whose faces are counted
CONTENT = frozenset({"speech", "audio"})  # published only if `recording_allowed` is true


@dataclass
class _Voice:
    """The state of a published voice. since: ns on the monotonic clock."""

    id: str
    since: int
    publishers: dict[str, Any]
    faces: OrderedDict[str, str] = field(default_factory=OrderedDict)  # utterance -> its face
    matches: dict[tuple[int, str], float] = field(default_factory=dict)  # (kind, id) -> confidence
    waiting: list[tuple[str, Any]] = field(default_factory=list)
    has_content: bool = False  # latched text or audio was published


def voice_id_of(conversation_id: str, speaker_id: str) -> str:
    """Return the id of a speaker's voice; its prefix identifies voices of this package."""
    return f"{OWN_VOICE}{conversation_id}_{speaker_id}"


def face_confidences(faces: list[str]) -> dict[str, float]:
    """Return face -> probability that it belongs to a voice, from the faces of its utterances.

    Laplace's rule of succession: after one utterance the probability is 2/3, and utterances with
    another face lower it.
    """
    return {face: (n + 1) / (len(faces) + 2) for face, n in Counter(faces).items()}


class Voices:
    """Publishes the voices of a conversation.

    Args:
        namespace: namespace of ROS4HRI.

    Raises:
        ValueError: hri_msgs, or audio_common_msgs for audio, is not installed.
    """

    def __init__(self, node: ManagedNode, namespace: str, with_audio: bool) -> None:
        kinds = {name: message_class(name) for name in (IDS, SPEECH, MATCH)}
        kinds |= {AUDIO: message_class(AUDIO)} if with_audio else {}
        if missing := [name for name, kind in kinds.items() if kind is None]:
            raise ErcValueError(f"publish_voices needs {missing[0]}, which is not installed here")
        self._kinds: dict[str, Any] = kinds
        self._parts = {"is_speaking": Bool, "speech": kinds[SPEECH]}
        self._parts |= {"audio": kinds[AUDIO]} if with_audio else {}
        self._node, self._namespace = node, namespace
        self._faces = TrackedFaces(node, namespace)
        self._voices: dict[str, _Voice] = {}
        self._speaking = ""  # id of the voice that speaks
        self._listed = 0  # ns on the monotonic clock
        self._list = node.create_publisher(kinds[IDS], f"{namespace}/voices/tracked", LATCHED_QOS)
        self._matches = node.create_publisher(
            kinds[MATCH], f"{namespace}/candidate_matches", MATCH_QOS
        )

    def look(self) -> None:
        """Update the list of tracked faces."""
        self._faces.look()

    def close(self) -> None:
        """Destroy all topics."""
        self._faces.close()
        self._end()
        self._node.destroy_publisher(self._list)
        self._node.destroy_publisher(self._matches)

    def named(self, event: PerceptionEvent) -> PerceptionEvent:
        """Return the event with the published voice of its speaker in the utterance."""
        if not isinstance(event, (UtteranceEvent, TextCorrected)):
            return event
        utterance = event.utterance
        if utterance.voice_id or not utterance.speaker_id:
            return event
        voice = voice_id_of(utterance.conversation_id, utterance.speaker_id)
        return replace(event, utterance=replace(utterance, voice_id=voice))

    def advance(self, conversation_id: str, speaker_id: str, stamp: int) -> None:
        """Publish who speaks now ("": no known speaker); stamp: ns on the node's clock."""
        now = time.monotonic_ns()
        if not self._node.consent.allowed:
            self._withdraw()
        speaks = ""
        if conversation_id and speaker_id:
            speaks = self._voice(conversation_id, speaker_id, stamp).id
        if speaks != self._speaking:
            for voice, speaking in ((self._speaking, False), (speaks, True)):
                if voice in self._voices:
                    self._send(self._voices[voice], "is_speaking", Bool(data=speaking))
            self._speaking = speaks
        for one in self._voices.values():
            self._introduce(one, now)
        if now - self._listed >= LIST_PERIOD:
            self._publish_list(stamp)

    def tell(
        self, event: PerceptionEvent, text: bool, audio: bool, persons: frozenset[str]
    ) -> None:
        """Publish the text, audio and matches of an event.

        Args:
            text, audio: whether they may be published.
            persons: names of enrolled voices.
        """
        if isinstance(event, ConversationEnded):
            self._end(event.stamp)
        elif isinstance(event, SpeakerCorrected):
            self._correct(event)
        elif isinstance(event, (UtteranceEvent, TextCorrected)):
            utterance = event.utterance
            # other nodes publish their voices themselves
            if utterance.speaker_id and (
                not utterance.voice_id or utterance.voice_id.startswith(OWN_VOICE)
            ):
                self._tell(utterance, text, audio, persons)

    def _tell(self, utterance: Utterance, text: bool, audio: bool, persons: frozenset[str]) -> None:
        voice = self._voice(utterance.conversation_id, utterance.speaker_id, utterance.end)
        if text and utterance.text:
            self._send(voice, "speech", self._speech(utterance))
        if not utterance.is_final:
            return
        if audio and "audio" in self._parts and len(utterance.audio):
            self._send(voice, "audio", self._kinds[AUDIO](data=utterance.audio.tobytes()))
        if utterance.face_id in self._faces.ids:
            voice.faces[utterance.utterance_id] = utterance.face_id
            if len(voice.faces) > REMEMBERED:
                voice.faces.popitem(last=False)
        self._match_faces(voice)
        if utterance.person_id in persons:
            self._match_person(voice, utterance)

    def _speech(self, utterance: Utterance) -> Any:
        message = self._kinds[SPEECH]()
        message.header.stamp = to_time(utterance.end)
        message.header.frame_id = utterance.frame_id
        if utterance.is_final:
            message.final = utterance.text
        message.incremental = utterance.text  # pyhri shows it until the next one
        if not math.isnan(utterance.text_confidence):
            message.confidence = float(utterance.text_confidence)
        # Called `language` before hri_msgs 2.2.1.
        setattr(message, "locale" if hasattr(message, "locale") else "language", utterance.locale)
        return message

    def _match_faces(self, voice: _Voice) -> None:
        confidences = face_confidences(list(voice.faces.values()))
        matches = [name for kind, name in voice.matches if kind == FACE]
        for face in dict.fromkeys([*matches, *confidences]):
            tracked = face in self._faces.ids
            self._match(voice, FACE, face, confidences.get(face, 0.0) if tracked else 0.0)

    def _match_person(self, voice: _Voice, utterance: Utterance) -> None:
        if not is_name(utterance.person_id):
            self._node.complain(
                "known voices",
                "the name of a known voice is not a valid id of ROS4HRI (a letter, then letters, "
                "digits or _): the voice is not matched with a person",
            )
            return
        for kind, name in list(voice.matches):
            if kind == PERSON and name != utterance.person_id:
                self._match(voice, PERSON, name, 0.0)  # a voice matches at most one person
        confidence = utterance.speaker_confidence
        self._match(
            voice, PERSON, utterance.person_id, 0.5 if math.isnan(confidence) else confidence
        )

    def _match(self, voice: _Voice, kind: int, name: str, confidence: float) -> None:
        """Publish a match if its confidence has changed."""
        if voice.matches.get((kind, name), 0.0) == confidence:
            return
        voice.matches[kind, name] = confidence
        if not confidence:
            del voice.matches[kind, name]
        self._matches.publish(
            self._kinds[MATCH](
                id1=voice.id, id1_type=VOICE, id2=name, id2_type=kind, confidence=confidence
            )
        )

    def _correct(self, event: SpeakerCorrected) -> None:
        """Move the faces of corrected utterances to their new speaker."""
        old = self._voices.get(voice_id_of(event.conversation_id, event.before))
        moved = {
            name: old.faces.pop(name)
            for name in event.utterance_ids
            if old is not None and name in old.faces
        }
        if old is None or not moved:
            return
        self._match_faces(old)
        if event.after:
            new = self._voice(event.conversation_id, event.after, event.end)
            new.faces.update(moved)
            self._match_faces(new)

    def _voice(self, conversation_id: str, speaker_id: str, stamp: int) -> _Voice:
        name = voice_id_of(conversation_id, speaker_id)
        if name not in self._voices:
            publishers = {part: self._publisher(name, part) for part in self._parts}
            self._voices[name] = _Voice(name, time.monotonic_ns(), publishers)
            self._publish_list(stamp)
        return self._voices[name]

    def _send(self, voice: _Voice, part: str, message: Any) -> None:
        voice.waiting.append((part, message))
        self._introduce(voice, time.monotonic_ns())

    def _introduce(self, voice: _Voice, now: int) -> None:
        """Send the waiting messages if there is a subscriber or `INTRODUCTION` is over."""
        waiting, voice.waiting = voice.waiting, []
        for part, message in self._allowed(waiting):
            publisher = voice.publishers[part]
            if now - voice.since < INTRODUCTION and not publisher.get_subscription_count():
                voice.waiting.append((part, message))
            else:
                publisher.publish(message)
                voice.has_content |= part in CONTENT

    def _allowed(self, waiting: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return the parts and messages that may be published."""
        if self._node.consent.allowed:
            return waiting
        return [(part, message) for part, message in waiting if part not in CONTENT]

    def _withdraw(self) -> None:
        """Destroy latched texts and audio, so that late subscribers do not receive them."""
        for voice in self._voices.values():
            if voice.has_content:
                for part in CONTENT & voice.publishers.keys():
                    self._node.destroy_publisher(voice.publishers[part])
                    voice.publishers[part] = self._publisher(voice.id, part)
            voice.has_content = False

    def _publisher(self, name: str, part: str) -> Any:
        topic = f"{self._namespace}/voices/{name}/{part}"
        return self._node.create_publisher(self._parts[part], topic, LATCHED_QOS)

    def _publish_list(self, stamp: int) -> None:
        message = self._kinds[IDS](ids=list(self._voices))
        message.header.stamp = to_time(stamp)
        self._list.publish(message)
        self._listed = time.monotonic_ns()

    def _end(self, stamp: int = 0) -> None:
        """Withdraw the matches of all voices and destroy the voices."""
        for voice in self._voices.values():
            for kind, name in list(voice.matches):
                self._match(voice, kind, name, 0.0)
            for part, message in self._allowed(voice.waiting):
                voice.publishers[part].publish(message)
            for publisher in voice.publishers.values():
                self._node.destroy_publisher(publisher)
        self._voices.clear()
        self._speaking = ""
        self._publish_list(stamp)
