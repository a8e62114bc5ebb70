"""Where the package is used, and from which modalities emotions may be estimated there.

In the European Union, Regulation (EU) 2024/1689 (AI Act) applies to emotions that are inferred from
biometric data, such as voice and face (Article 3(39)), and not from text. Article 5(1)(f) prohibits
it at work and in education, except for medical or safety reasons. Article 50(3) requires that
people are informed. Article 2(6) exempts research. This is not legal advice; see USE.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from erc_ros.values.errors import ErcValueError
from erc_ros.values.settings import check, parameter
from erc_ros.values.utterance import MODALITIES

UNSET, RESEARCH = "unset", "research"
PROHIBITED = ("workplace", "education")
AUTO, NO_EXCEPTION = "auto", "none"
_REGULATION = "Regulation (EU) 2024/1689"


class DeploymentError(ErcValueError):
    """The use of the package is prohibited, or its modalities do not exist."""


@dataclass(frozen=True, slots=True)
class DeploymentConfig:
    """Where the package is used.

    Raises:
        DeploymentError: the use is prohibited, or a modality does not exist.
        ValueError: a value that is not among its choices.
    """

    deployment_context: str = parameter(
        UNSET,
        "where the robot is used (USE.md); unset: only text is used; workplace, education: refused "
        "without `deployment_exception`",
        choices=(UNSET, RESEARCH, "care", "public", "home", *PROHIBITED),
    )
    deployment_exception: str = parameter(
        NO_EXCEPTION,
        "reason that permits `deployment_context` workplace or education (AI Act, Article 5(1)(f))",
        choices=(NO_EXCEPTION, "medical", "safety"),
    )
    modalities: str = parameter(
        AUTO,
        "modalities used for estimates, such as `text,audio`; auto: all that "
        "`deployment_context` permits of text, audio and visual",
    )

    def __post_init__(self) -> None:
        check(self)
        unknown = [name for name in self._chosen() if name not in MODALITIES]
        if unknown:
            raise DeploymentError(
                f"modalities is {self.modalities!r}: {unknown[0]!r} does not exist; use auto, or "
                f"some of {', '.join(MODALITIES)}, separated by commas"
            )
        if self.deployment_context in PROHIBITED and self.deployment_exception == NO_EXCEPTION:
            raise DeploymentError(
                f"deployment_context is {self.deployment_context}: {_REGULATION}, Article 5(1)(f), "
                "prohibits emotion recognition there except for medical or safety reasons. If one "
                "applies, set deployment_exception to medical or safety; see USE.md"
            )

    @property
    def is_set(self) -> bool:
        """Whether `deployment_context` is set."""
        return self.deployment_context != UNSET

    def permitted(self) -> tuple[str, ...]:
        """Return the modalities that are used, in the order of MODALITIES.

        Raises:
            DeploymentError: no modality is left.
        """
        chosen = self._chosen()
        allowed = MODALITIES if self.is_set else MODALITIES[:1]
        names = tuple(name for name in allowed if name in chosen)
        if not names:
            raise DeploymentError(
                f"modalities is {self.modalities!r} and deployment_context is "
                f"{self.deployment_context}: no modality is left. Set deployment_context"
            )
        return names

    def advice(self) -> str:
        """Return why modalities are missing, or what the law requires; "" for research."""
        if not self.is_set:
            return (
                "deployment_context is not set: emotions are estimated from text only. Voice and "
                f"face are biometric data ({_REGULATION}, Article 3(39)), whose use depends on "
                "the place: set deployment_context to research, care, public or home (USE.md)"
            )
        if self.deployment_context == RESEARCH or self.permitted() == MODALITIES[:1]:
            return ""
        return (
            f"people must be informed that emotions are estimated ({_REGULATION}, Article 50(3)): "
            "~/sensing has a notice to show"
        )

    def _chosen(self) -> tuple[str, ...]:
        if self.modalities == AUTO:
            return MODALITIES
        return tuple(name.strip() for name in self.modalities.split(","))
