"""The deployment context determines from which modalities emotions may be estimated."""

from __future__ import annotations

from pathlib import Path

import pytest

from erc_ros.parameters import RobotConfig, read_parameters
from erc_ros.values.deployment import PROHIBITED, DeploymentConfig, DeploymentError
from erc_ros.values.opt_outs import OptOutError, OptOuts, listed, speaker_key
from erc_ros.values.utterance import MODALITIES, Utterance


def test_without_a_context_text_is_all_that_is_used_and_the_reason_is_given() -> None:
    deployment = DeploymentConfig()
    assert deployment.permitted() == ("text",)
    assert "deployment_context" in deployment.advice() and "2024/1689" in deployment.advice()


@pytest.mark.parametrize("context", ["research", "care", "public", "home"])
def test_these_contexts_permit_every_modality_and_all_but_research_ask_for_a_notice(
    context: str,
) -> None:
    deployment = DeploymentConfig(context)
    assert deployment.permitted() == MODALITIES
    assert ("Article 50(3)" in deployment.advice()) == (context != "research")
    assert DeploymentConfig(context, modalities="text").advice() == ""  # no biometric data


@pytest.mark.parametrize("context", PROHIBITED)
def test_work_and_education_are_refused_with_the_article_unless_there_is_an_exception(
    context: str,
) -> None:
    with pytest.raises(DeploymentError) as refused:
        DeploymentConfig(context)
    assert "Article 5(1)(f)" in str(refused.value) and "deployment_exception" in str(refused.value)
    for exception in ("medical", "safety"):
        assert DeploymentConfig(context, exception).permitted() == MODALITIES


def test_modalities_are_a_list_of_those_that_exist() -> None:
    assert DeploymentConfig("home", modalities=" audio, text").permitted() == ("text", "audio")
    for wrong in ("voice", "", "text,,audio"):
        with pytest.raises(DeploymentError):
            DeploymentConfig("home", modalities=wrong)
    with pytest.raises(DeploymentError):  # nothing is left
        DeploymentConfig(modalities="audio").permitted()


def test_a_parameter_file_with_prohibited_use_is_refused_and_recordings_count_as_research(
    tmp_path: Path,
) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text("/**:\n  ros__parameters: {deployment_context: workplace}\n")
    with pytest.raises(ValueError, match=r"robot\.yaml.*Article 5\(1\)\(f\)"):
        read_parameters(file)
    assert RobotConfig().pipeline.recognition.used == MODALITIES
    assert RobotConfig().pipeline.perception.sensed == MODALITIES
    assert RobotConfig().utterance_node.used_perception.sensed == ("text",)
    assert RobotConfig().utterance_node.used_perception.face_detector == "none"
    text = RobotConfig().changed(modalities="text", deployment_context="care")
    assert text.pipeline.recognition.used == ("text",)


def test_ids_opt_out_and_withdraw_within_bounds() -> None:
    opt_outs = OptOuts(listed("anna, f7,"))
    assert "anna" in opt_outs and "f7" in opt_outs and "" not in opt_outs and len(opt_outs) == 2
    version = opt_outs.version
    opt_outs.change(" c1/0 ", True)
    said = Utterance(conversation_id="c1", utterance_id="u1", start=0, end=1, speaker_id="0")
    assert opt_outs.covers(said) and opt_outs.version > version
    opt_outs.change(speaker_key("c1", "0"), False)
    assert not opt_outs.covers(said)
    with pytest.raises(OptOutError):
        opt_outs.change("unknown", False)
    with pytest.raises(OptOutError):
        OptOuts(str(number) for number in range(1001))


@pytest.mark.parametrize(
    "wrong", ["", " ", "c1/", "/0", "/", "x" * 257, "c1/" + "x" * 257, "an\nna", "an\x00na"]
)
def test_an_invalid_id_is_refused_and_nothing_changes(wrong: str) -> None:
    opt_outs = OptOuts()
    with pytest.raises(OptOutError):
        opt_outs.change(wrong, True)
    assert not opt_outs and opt_outs.version == 0


def test_the_longest_speaker_of_the_longest_conversation_can_opt_out() -> None:
    assert len(OptOuts([f"{'c' * 256}/{'s' * 256}"])) == 1


def test_a_repeated_opt_out_changes_nothing() -> None:
    opt_outs = OptOuts(["anna"])
    concerned = opt_outs.concerned
    assert not opt_outs.change("anna", True)
    assert opt_outs.concerned is concerned


def test_ids_that_are_found_later_are_concerned_until_the_opt_outs_change() -> None:
    opt_outs = OptOuts(["anna"])
    said = Utterance("c1", "u1", 0, 1, speaker_id="0", person_id="anna", face_id="f1")
    opt_outs.link(said)
    assert opt_outs.concerned == {"anna", "f1", "c1/0"} and opt_outs.ids == {"anna"}
    for number in range(3000):
        opt_outs.link(Utterance("c1", "u", 0, 1, speaker_id=str(number)))
    assert len(opt_outs.concerned) < 3000 and "anna" in opt_outs.concerned
    opt_outs.change("anna", False)
    assert not opt_outs.concerned
