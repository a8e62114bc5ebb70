"""Detection of ASR output that was not spoken: sound tags and hallucinated sentences.

Speech recognizers trained on subtitles write `[MUSIC]` or `(applause)` for sounds, and "Thank you
for watching!" for silence and noise. Tags are always removed. A hallucinated sentence may also be
real speech, so it is dropped only if there is evidence of silence.
"""

from __future__ import annotations

import re

_SOUNDS = """
applause applauding barking beep beeping bell birds blank blank_audio breathing chatter cheering
cheers chuckle chuckles chuckling clapping clears clicking cough coughing coughs cries crosstalk
crowd crying door engine exhales foreign footsteps gasp gasping gasps giggles giggling groaning
groans grunts humming inaudible indistinct inhales instrumental laugh laughing laughs laughter
melody moaning mumbling mumbles music musical muttering noise noises none ominous pause phone
playing ringing screaming screams sighing sighs silence silent singing sings sigh sniff sniffing
sniffles sniffs snoring sobbing sobs sound sounds speaking static tapping throat thunder typing
unintelligible unknown upbeat whispering whispers whistle whistles whistling wind yawning yawns
applaus gelächter husten lachen lacht musik schweigen seufzt stille weint applaudissements musique
rires silence soupir toux aplausos música musica ríe risas risa silencio suspira tos applausi
risate ride silenzio sospira musica applaus gelach muziek stilte aplausos risos música silêncio
alkış gülüşmeler gülme kahkaha müzik sessizlik
"""
SOUNDS = frozenset(_SOUNDS.split())
"""Words of tags, in lower case."""

# A bracket that starts a word, unlike those of ":(" and "f(x)". A tag is short and on one line.
_TAG = re.compile(
    r"(?<!\S)(?:\[([^\[\]\n]{1,60})\]|\(([^()\n]{1,60})\)|<([^<>\n]{1,60})>|\*([^*\n]{1,60})\*)"
)
_NOTES = re.compile(r"[♩♪♫♬]+")
_WORD = re.compile(r"[^\W\d]+")

# Typical ASR output for silence, compared without case and punctuation.
_INVENTED = frozenset(
    [
        "thank you for watching",
        "thanks for watching",
        "thank you so much for watching",
        "thank you very much for watching",
        "thank you all for watching",
        "thank you for listening",
        "thanks for listening",
        "thank you for your attention",
        "please subscribe",
        "please subscribe to my channel",
        "please like and subscribe",
        "like and subscribe",
        "dont forget to like and subscribe",
        "dont forget to subscribe",
        "see you in the next video",
        "see you next time",
        "see you in the next one",
        "ill see you in the next video",
        "ill see you next time",
        "bye bye",
        "bye",
        "thank you",
        "thank you very much",
        "you",
        "the end",
        "to be continued",
        "vielen dank fürs zuschauen",
        "vielen dank",
        "bis zum nächsten mal",
        "merci davoir regardé cette vidéo",
        "gracias por ver el video",
        "suscríbete al canal",
        "grazie per la visione",
        "sottotitoli a cura di qtss",
        "bedankt voor het kijken",
        "obrigado por assistir",
        "izlediğiniz için teşekkür ederim",
        "ご視聴ありがとうございました",
    ]
)
_CREDITS = re.compile(
    r"^(?:subtitles?|captions?|transcri(?:pt|bed|ption)|translated|untertitel\w*|sous-titr\w*"
    r"|subtítulos|sottotitoli|ondertitel\w*|legendas|altyazı)\b.{0,20}\b"
    r"(?:by|von|par|por|di|da|de|des|im auftrag|zdf|ndr|swr|amara|m\.k\.)\b"
    r"|amara\.org|^www\.\S+$",
    re.IGNORECASE,
)


def spoken_words(text: str) -> str:
    """Return the text without sound tags and musical notes.

    Example:
        >>> spoken_words("[laughs] That's great!"), spoken_words("(upbeat music)")
        ("That's great!", '')
    """
    without = _NOTES.sub(" ", _TAG.sub(_kept, text))
    return without.strip() if without != text else text.strip()


def is_invented(text: str) -> bool:
    """Return whether a text is typical ASR output for silence."""
    plain = " ".join(re.sub(r"[^\w\s]", "", text.lower()).replace("_", " ").split())
    return plain in _INVENTED or bool(_CREDITS.search(text.strip()))


def _kept(tag: re.Match[str]) -> str:
    inside = next(group for group in tag.groups() if group is not None).lower()
    # [BLANK_AUDIO], [_TT_150]: control tokens of Whisper
    is_sound = inside.startswith("_") or any(word in SOUNDS for word in _WORD.findall(inside))
    return " " if is_sound else tag[0]
