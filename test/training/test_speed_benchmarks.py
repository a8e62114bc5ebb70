"""The benchmarks of speed measure what ships: every network of it, read as it is read there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import fusion_heads, system_latency
from benchmarks.against_alternatives import OwnTokens, arrays, bert, in_torch
from erc_ros.encoders.text import Turn
from erc_ros.inference.bundle import load_bundle, text_prompt
from erc_ros.inference.manifest import CachedText
from erc_ros.inference.text_encoders import CachedTextEncoder
from erc_ros.networks.network import Network
from erc_ros.resources import model_folder
from erc_ros.training.encoders.text.export import export
from erc_ros.training.encoders.text.model import CachingTextModule, TextModelConfig

SHIPPED = load_bundle(model_folder("edge-small"))


def test_a_head_of_no_paper_is_measured_at_its_default_size(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fusion_heads.main(["--heads", "late-fusion", "--repeats", "1"]) == 0
    assert "| late-fusion | default |" in capsys.readouterr().out


def test_parts_of_systems_are_measured_in_float32_and_int8(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert system_latency.main(["--repeats", "1", "--parts", "log_mel", "faces"]) == 0
    assert "| face network, 8 crops of 48 | " in capsys.readouterr().out
    times = {"float32_ms": 4.0, "int8_ms": 1.0}
    measured = dict.fromkeys(("bert_base_32", "emotion2vec", "lpgnet"), times)
    assert system_latency.sums(measured) == {"lpgnet": {"float32_ms": 12.0, "int8_ms": 3.0}}


def test_every_part_of_a_system_is_one_that_is_measured() -> None:
    parts = {
        f"{name}_{length}" if length else name
        for name, part in system_latency.PARTS.items()
        for length in part.lengths
    }
    assert {name for names in system_latency.SYSTEMS.values() for name in names} <= parts


@pytest.mark.filterwarnings("ignore")
def test_pytorch_reads_an_utterance_as_this_runtime_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = TextModelConfig(
        vocabulary=30532, layers=2, hidden=64, reading="utterance", width=48, heads=4
    )
    export(CachingTextModule(config).eval(), tmp_path / "text.onnx")
    part = CachedText(
        tmp_path / "text.onnx", SHIPPED.text.tokenizer, 48, 192, 2, 4, "float32", question=False
    )
    prompt = text_prompt(part)
    mine = CachedTextEncoder(Network(part.file), prompt, part.attention)
    theirs = in_torch(OwnTokens(bert(part)).eval(), 1)
    window = ()
    for speaker, said in ((1, "Where is my dog?"), (2, "He ran away."), (1, "Oh no.")):
        window = prompt.slide(window, Turn(speaker, said))
        whole = arrays(prompt.arrange(window, [len(window) - 1]))
        np.testing.assert_allclose(theirs(whole), mine(window), atol=1e-4)
