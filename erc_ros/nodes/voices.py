"""The voices of speaker diarization for ROS4HRI: topics `voices/...` and `candidate_matches`.

A speaker of a conversation is a voice as long as the conversation lasts; its id does not persist.
All of it is called by the node's worker, but `look`, which is the executor's.
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
LIST_PERIOD = NS  # between two lists of the voices: who comes late subscribes without history
# Messages of a new voice wait so long for a subscriber: pyhri subscribes when it is listed.
INTRODUCTION = NS // 2
REMEMBERED = 64  # utterances of a voice whose faces count
CONTENT = frozenset({"speech", "audio"})  # what `recording_allowed` holds back


@dataclass
class _Voice:
    """What is known and published of a voice. since: ns on the monotonic clock."""

    id: str
    since: int
    publishers: dict[str, Any]
    faces: OrderedDict[str, str] = field(default_factory=OrderedDict)  # utterance -> its face
    told: dict[tuple[int, str], float] = field(default_factory=dict)  # (kind, id) -> confidence
    waiting: list[tuple[str, Any]] = field(default_factory=list)
    has_content: bool = False  # a text or audio was published, and late subscribers get the last


def voice_id_of(conversation_id: str, speaker_id: str) -> str:
    """The id of a speaker's voice; it begins so that we know our own."""
    return f"{OWN_VOICE}{conversation_id}_{speaker_id}"


def face_confidences(faces: list[str]) -> dict[str, float]:
    """Face -> how likely it is a voice's, 0..1, of the faces of its utterances.

    Laplace's rule of succession: one utterance is no certainty (2/3), and one with another face
    takes from it.
    """
    return {face: (n + 1) / (len(faces) + 2) for face, n in Counter(faces).items()}


class Voices:
    """Publishes the voices of a conversation.

    Args:
        namespace: of ROS4HRI.

    Raises:
        ValueError: hri_msgs is not installed, or for the audio audio_common_msgs.
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
        """Which faces are tracked."""
        self._faces.look()

    def close(self) -> None:
        """Take all topics away."""
        self._faces.close()
        self._end()
        self._node.destroy_publisher(self._list)
        self._node.destroy_publisher(self._matches)

    def named(self, event: PerceptionEvent) -> PerceptionEvent:
        """An event whose utterance has the voice that is published for its speaker."""
        if not isinstance(event, (UtteranceEvent, TextCorrected)):
            return event
        said = event.utterance
        if said.voice_id or not said.speaker_id:
            return event
        voice = voice_id_of(said.conversation_id, said.speaker_id)
        return replace(event, utterance=replace(said, voice_id=voice))

    def advance(self, conversation_id: str, speaker_id: str, stamp: int) -> None:
        """Publish who speaks now ("": no known speaker); stamp: ns, on the clock of the stamps."""
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
        """Publish what an event says of voices.

        Args:
            text, audio: whether they may be published.
            persons: names that were given by voice.
        """
        if isinstance(event, ConversationEnded):
            self._end(event.stamp)
        elif isinstance(event, SpeakerCorrected):
            self._correct(event)
        elif isinstance(event, (UtteranceEvent, TextCorrected)):
            said = event.utterance
            # voices of other nodes are published by those
            if said.speaker_id and (not said.voice_id or said.voice_id.startswith(OWN_VOICE)):
                self._tell(said, text, audio, persons)

    def _tell(self, said: Utterance, text: bool, audio: bool, persons: frozenset[str]) -> None:
        voice = self._voice(said.conversation_id, said.speaker_id, said.end)
        if text and said.text:
            self._send(voice, "speech", self._speech(said))
        if not said.is_final:
            return
        if audio and "audio" in self._parts and len(said.audio):
            self._send(voice, "audio", self._kinds[AUDIO](data=said.audio.tobytes()))
        if said.face_id in self._faces.ids:
            voice.faces[said.utterance_id] = said.face_id
            if len(voice.faces) > REMEMBERED:
                voice.faces.popitem(last=False)
        self._match_faces(voice)
        if said.person_id in persons:
            self._match_person(voice, said)

    def _speech(self, said: Utterance) -> Any:
        message = self._kinds[SPEECH]()
        message.header.stamp = to_time(said.end)
        message.header.frame_id = said.frame_id
        if said.is_final:
            message.final = said.text
        message.incremental = said.text  # pyhri shows it until the next one
        if not math.isnan(said.text_confidence):
            message.confidence = float(said.text_confidence)
        # Called `language` before hri_msgs 2.2.1.
        setattr(message, "locale" if hasattr(message, "locale") else "language", said.locale)
        return message

    def _match_faces(self, voice: _Voice) -> None:
        confidences = face_confidences(list(voice.faces.values()))
        told = [name for kind, name in voice.told if kind == FACE]
        for face in dict.fromkeys([*told, *confidences]):
            tracked = face in self._faces.ids
            self._match(voice, FACE, face, confidences.get(face, 0.0) if tracked else 0.0)

    def _match_person(self, voice: _Voice, said: Utterance) -> None:
        if not is_name(said.person_id):
            self._node.complain(
                "known voices",
                "a known voice has a name that is no id of ROS4HRI (a letter, then letters, "
                "digits or _): its voice is matched with no person",
            )
            return
        for kind, name in list(voice.told):
            if kind == PERSON and name != said.person_id:
                self._match(voice, PERSON, name, 0.0)  # a voice matches at most one person
        confidence = said.speaker_confidence
        self._match(voice, PERSON, said.person_id, 0.5 if math.isnan(confidence) else confidence)

    def _match(self, voice: _Voice, kind: int, name: str, confidence: float) -> None:
        """Tell it where it has changed."""
        if voice.told.get((kind, name), 0.0) == confidence:
            return
        voice.told[kind, name] = confidence
        if not confidence:
            del voice.told[kind, name]
        self._matches.publish(
            self._kinds[MATCH](
                id1=voice.id, id1_type=VOICE, id2=name, id2_type=kind, confidence=confidence
            )
        )

    def _correct(self, event: SpeakerCorrected) -> None:
        """Move the faces of corrected utterances to their new speaker."""
        before = self._voices.get(voice_id_of(event.conversation_id, event.before))
        moved = {
            utterance: before.faces.pop(utterance)
            for utterance in event.utterance_ids
            if before is not None and utterance in before.faces
        }
        if before is None or not moved:
            return
        self._match_faces(before)
        if event.after:
            after = self._voice(event.conversation_id, event.after, event.end)
            after.faces.update(moved)
            self._match_faces(after)

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
        """Send what waits for a listener, if there is one or none came in time."""
        waiting, voice.waiting = voice.waiting, []
        for part, message in self._allowed(waiting):
            publisher = voice.publishers[part]
            if now - voice.since < INTRODUCTION and not publisher.get_subscription_count():
                voice.waiting.append((part, message))
            else:
                publisher.publish(message)
                voice.has_content |= part in CONTENT

    def _allowed(self, waiting: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Of these parts and messages, those that may still be published."""
        if self._node.consent.allowed:
            return waiting
        return [(part, message) for part, message in waiting if part not in CONTENT]

    def _withdraw(self) -> None:
        """Take back the latched texts and audio: late subscribers must not get them any more."""
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
        """The conversation is over: so are its voices, and what they were matched with."""
        for voice in self._voices.values():
            for kind, name in list(voice.told):
                self._match(voice, kind, name, 0.0)
            for part, message in self._allowed(voice.waiting):
                voice.publishers[part].publish(message)
            for publisher in voice.publishers.values():
                self._node.destroy_publisher(publisher)
        self._voices.clear()
        self._speaking = ""
        self._publish_list(stamp)
