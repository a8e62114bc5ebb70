"""A text part in several languages: from corpora and recipe to what the robot accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra [train]")

from tiny_systems import train

from erc_ros.cli import main
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.training.datasets import corpora
from erc_ros.training.datasets.xed import FILES
from erc_ros.values.utterance import Utterance

RECIPE = Path(__file__).parents[3] / "erc_ros" / "config" / "systems" / "text_6_languages.yaml"
LINES = ["{} eins\t1", "{} two\t3", "{} trois\t4", "{} quattro\t5", "{} cinco\t6", "{} seis\t7"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of XED's layout."""
    folder = tmp_path_factory.mktemp("corpora")
    for name in FILES.values():
        (folder / name).parent.mkdir(exist_ok=True)
        lines = [line.format(f"{Path(name).stem} {n}") for n in range(4) for line in LINES]
        (folder / name).write_text("\n".join(lines))
    return folder


def test_the_bundle_accepts_the_languages_of_its_corpora(
    data: Path, tmp_path: Path, tiny: dict[str, str]
) -> None:
    recipe = yaml.safe_load(RECIPE.read_text())
    quick = {"epochs": 1, "batch_size": 32, "learning_rate": 1.0e-3}
    text, fusion = recipe["stages"]["text"], recipe["stages"]["fusion"]
    text["encoder"]["model"] = tiny["roberta"]
    text["trainer"] = fusion["trainer"] = quick
    fusion["network"]["width"] = 16
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    assert train(recipe, data, run) == 0
    assert main(["export", str(run), "--bundle", str(bundle), "--data", str(data)]) == 0
    assert load_bundle(bundle).languages == ("en", "de", "es", "fr", "it", "pt")
    with EmotionRecognizer(load_bundle(bundle)) as recognizer:

        def excluded(text: str, locale: str = "") -> str:
            utterance = Utterance("c", "u", 0, 1, text=text, locale=locale)
            return recognizer.feed(utterance).text_excluded

        assert excluded("Ich bin so wütend auf dich, verschwinde!") == ""
        assert excluded("Non so che cosa devo fare con te.") == ""
        assert excluded("I am furious with you!", "de-DE") == ""
        assert excluded("Nie wiem, co mam z tym zrobić.") == "language"
        assert excluded("I am furious with you!", "pl_PL") == "locale"


def test_each_language_that_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    spec = corpora.find("xed-6-languages")
    ids = [c.name for c in corpora.read(spec.name, data, "train").conversations]
    assert len(ids) == len(set(ids)) > len(corpora.read("xed", data, "train").conversations)
    (tmp_path / "xed").mkdir()
    (tmp_path / FILES["en"]).write_text((data / FILES["en"]).read_text())
    with pytest.raises(FileNotFoundError, match="de-projections"):
        corpora.read(spec.name, tmp_path, "train")
