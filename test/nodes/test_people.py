"""`erc people` against the running nodes, over DDS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from node_bench import Bench, finals, play
from tones import scene

from erc_ros.cli import main
from erc_ros.nodes import people

MakeBench = Callable[..., Bench]
Capture = pytest.CaptureFixture[str]
QUIET: dict[str, Any] = {"expect_text": "never"}


def test_a_speaker_is_listed_enrolled_and_forgotten(
    make_bench: MakeBench, tones: None, capsys: Capture
) -> None:
    bench = make_bench(parameters=QUIET)
    assert main(["people", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["no person is sensed", "opted out: 0"]
    start = bench.now()
    play(bench, scene((1, 9, 4), end=11), start)
    bench.wait(lambda: finals(bench), "a person spoke")
    said = finals(bench)[-1]
    speaker = f"{said.conversation_id}/{said.speaker_id}"
    bench.wait(lambda: bench.estimates, "an estimate")
    bench.wait(lambda: f"{speaker}: audio" in _listed(capsys), "the speaker is listed")
    assert main(["people", "enrol", "--speaker", speaker, "Ada"]) == 0
    assert capsys.readouterr().out.startswith("utterance_node: ")
    play(bench, scene((1, 4, 4), end=6), start + 15 * 10**9)
    bench.wait(lambda: len(finals(bench)) > 1, "and again")
    assert finals(bench)[-1].person_id == "Ada"
    bench.wait(lambda: bench.estimates[-1].person_id == "Ada", "an estimate")
    bench.wait(lambda: "Ada: audio" in _listed(capsys), "the person is listed")
    assert main(["people", "forget", "Ada"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2  # the voice and the state
    assert main(["people", "forget", "Ada"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("split", [False, True])
def test_an_opt_out_applies_to_both_nodes_until_opt_in(
    make_bench: MakeBench, capsys: Capture, split: bool
) -> None:
    bench = make_bench(split=split)
    assert main(["people", "opt-out", "anna"]) == 0
    assert all("anna" in node.opt_outs.ids for node in bench.nodes)
    assert _listed(capsys) == ["no person is sensed", "opted out: 1 (anna)"]
    assert main(["people", "opt-out", "anna/"]) == 1
    assert main(["people", "opt-in", "anna"]) == 0
    assert not any(node.opt_outs.ids for node in bench.nodes)
    assert main(["people", "opt-in", "anna"]) == 1


def _listed(capsys: Capture) -> list[str]:
    capsys.readouterr()
    assert main(["people", "list"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("arguments", [["list"], ["opt-out", "anna"]])
def test_a_namespace_without_nodes_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, arguments: list[str]
) -> None:
    monkeypatch.setattr(people, "PATIENCE", 0.2)
    assert main(["people", "--namespace", "robot7", *arguments]) == 1
    assert "/robot7/utterance_node/" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["marry"], ["opt-out"], ["enrol"]])
def test_wrong_use_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["people", *arguments])
    assert ended.value.code == 2
