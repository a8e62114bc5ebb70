"""`erc quantize`: a complete bundle with its report, or nothing."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from bundles import Kinds, tiny_manifest, write_tiny_bundle, write_tiny_bundle_3
from onnx import numpy_helper
from tiny_dialogues import labelled_as_answered

from erc_ros.cli import main as main_of_erc
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.engines.agreement import disagreement
from erc_ros.training.manifest import write_manifest
from erc_ros.training.quantization import command, report
from erc_ros.training.quantization.command import main, quantize_bundle
from erc_ros.training.quantization.gate import RefusedError
from erc_ros.training.quantization.schemes import FOR_TENSORRT, QuantizationError
from erc_ros.training.quantization.task import PARTS, Material, Task
from erc_ros.values.utterance import Utterance


def quantized(
    source: Path,
    out: Path,
    material: dict[str, Material],
    scheme: str = "weight-only",
    parts: tuple[str, ...] = ("fusion",),
    max_drop: float = 100.0,
) -> dict[str, Any]:
    return quantize_bundle(source, scheme, parts, out, lambda bundle: material, max_drop)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, material: dict[str, Material]) -> Path:
    """A bundle of which everything is quantized that can be; its source lies beside it."""
    folder = tmp_path_factory.mktemp("bundles")
    source = write_tiny_bundle(folder / "tiny")
    (source / "README.md").write_text("the card\n", encoding="utf-8")
    quantized(source, folder / "small", material, parts=PARTS)
    assert {path.name for path in folder.iterdir()} == {"tiny", "small"}
    return folder / "small"


def test_a_quantized_bundle_runs(small: Path) -> None:
    bundle = load_bundle(small)
    # The tiny text encoder has no weights, so it stays as it was.
    assert [getattr(bundle, part).precision for part in PARTS] == ["float32"] + 3 * ["int8-weights"]
    with EmotionRecognizer(bundle) as recognizer:
        answer = recognizer.feed(Utterance("c", "u", 0, 1, text="hello"))
    assert answer.probabilities.sum() == pytest.approx(1)
    assert (small / "README.md").read_text(encoding="utf-8") == "the card\n"


def test_its_report_tells_what_was_lost_and_gained(small: Path) -> None:
    written = json.loads((small / report.JSON).read_text(encoding="utf-8"))
    assert written["float32_bundle"]["sha256"] == load_bundle(small.parent / "tiny").sha256
    assert set(written["parts"]) == {"audio", "visual", "fusion"}
    for part in written["parts"].values():
        assert part["costs"]["quantized"]["bytes"] < part["costs"]["float32"]["bytes"]
        assert part["costs"]["quantized"]["peak_memory_mb"] > 0
    text = (small / report.MARKDOWN).read_text(encoding="utf-8")
    for words in ("| dev | 28 |", "**test**", "| fusion | weight-only |", "whole bundle", "p95"):
        assert words in text


def test_its_manifest_says_what_was_done(small: Path) -> None:
    manifest, before = (
        yaml.safe_load((folder / "bundle.yaml").read_text(encoding="utf-8"))
        for folder in (small, small.parent / "tiny")
    )
    for section in ("name", "labels", "anchors", "text", "calibration", "training"):
        assert manifest[section] == before[section]
    summary = manifest["metrics"]["quantization"]
    assert summary["schemes"] == dict.fromkeys(("audio", "visual", "fusion"), "weight-only")
    test = json.loads((small / report.JSON).read_text(encoding="utf-8"))["test"]
    assert summary["test_weighted_f1"]["quantized"] == pytest.approx(test["after"], abs=0.01)


def test_a_bundle_that_is_quantized_already_is_refused(
    small: Path, tmp_path: Path, material: dict[str, Material]
) -> None:
    for parts in (PARTS, ("audio",)):
        with pytest.raises(QuantizationError, match=r"audio.*int8-weights"):
            quantized(small, tmp_path / "smaller", material, parts=parts)
    with pytest.raises(RefusedError, match=r"dynamic.*text"):
        quantized(small, tmp_path / "smaller", material, "dynamic", ("text",))


def test_only_the_part_asked_for_changes(
    bundle_folder: Path, tmp_path: Path, material: dict[str, Material]
) -> None:
    quantized(bundle_folder, tmp_path / "small", material, "static", ("audio",))
    bundle, before = load_bundle(tmp_path / "small"), load_bundle(bundle_folder)
    assert (bundle.audio.precision, bundle.fusion.precision) == ("int8-static", "float32")
    assert bundle.fusion.file.read_bytes() == before.fusion.file.read_bytes()


def test_auto_chooses_by_measuring(
    bundle_folder: Path, tmp_path: Path, material: dict[str, Material]
) -> None:
    try:
        report = quantized(bundle_folder, tmp_path / "small", material, "auto", ("audio",))
    except RefusedError as error:  # here float32 was the fastest of so small a network
        assert "improves nothing" in str(error) and not (tmp_path / "small").exists()
        return
    passed = [each["scheme"] for each in report["tried"]["audio"] if each["passed"]]
    assert passed == [report["parts"]["audio"]["scheme"]]


def test_a_bundle_for_tensorrt_is_fit_for_it_and_judged_as_the_engines_graphs(
    bundle_folder: Path, material: dict[str, Material], capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rounding to int8 changes what random weights answer more than what a trained network does.
    tolerant = partial(disagreement, tolerance=0.05)
    monkeypatch.setattr("erc_ros.inference.engines.build.disagreement", tolerant)
    out = bundle_folder.with_name("engines")
    found = quantize_bundle(
        bundle_folder, "auto", PARTS, out, lambda bundle: material, 100.0, target="tensorrt"
    )
    assert found["target"] == "tensorrt"
    assert set(found["parts"]) >= {"audio", "visual"}
    assert {part["scheme"] for part in found["parts"].values()} <= set(FOR_TENSORRT)
    assert found["dev"]["mean"] > 0  # float16 and int8 are in what was compared
    assert "For TensorRT:" in (out / report.MARKDOWN).read_text(encoding="utf-8")
    assert main_of_erc(["build-engines", str(out), "--check"]) == 0
    assert capsys.readouterr().out.count("fit for TensorRT") == 4


def test_parts_that_are_quantized_one_after_the_other_know_their_float32_bundle(
    bundle_folder: Path, material: dict[str, Material]
) -> None:
    first, second = (bundle_folder.with_name(name) for name in ("first", "second"))
    quantized(bundle_folder, first, material, parts=("fusion",))
    quantized(first, second, material, parts=("audio",))
    assert load_bundle(second).float32_sha256 == load_bundle(bundle_folder).sha256


def test_a_scheme_for_cpus_is_refused_for_tensorrt(bundle_folder: Path, capsys) -> None:
    line = [str(bundle_folder), "--target", "tensorrt", "--scheme", "dynamic"]
    assert main(line) == 1
    assert "TensorRT does not take scheme dynamic; it takes symmetric" in capsys.readouterr().err
    assert not bundle_folder.with_name("tiny-tensorrt").exists()


def test_what_loses_too_much_is_refused_and_nothing_is_written(
    bundle_folder: Path, tmp_path: Path, material: dict[str, Material], monkeypatch, capsys
) -> None:
    # The last of the face's numbers is always 0 and has a huge weight in the fusion: float32 does
    # not mind, int8 has nothing left for the others.
    change(bundle_folder / "face.onnx", "project", lambda w: w * (np.arange(w.shape[1]) < 127))
    change(bundle_folder / "fusion.onnx", "project", lambda w: np.r_[w[:-1], w[-1:] * 0 + 1e4])
    write_manifest(bundle_folder, tiny_manifest())
    right = labelled_as_answered(Task(load_bundle(bundle_folder), material))
    monkeypatch.setattr(command, "material_of", lambda bundle, data, corpus: right)
    out, data = tmp_path / "small", f"--data={tmp_path}"  # nothing is read from there
    assert main([str(bundle_folder), "--scheme", "weight-only", "--out", str(out), data]) == 3
    said = capsys.readouterr().err
    assert "refused: weighted F1 on dev falls by" in said and "With the part fusion" in said
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    arguments = [str(bundle_folder), "--scheme", "weight-only", "--part", "audio", data]
    assert main([*arguments, "--max-drop", "20", "--out", str(out)]) == 0
    assert "| audio | weight-only |" in capsys.readouterr().out


def change(file: Path, name: str, how: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rewrite a constant of a network."""
    model = onnx.load(str(file))
    tensor = next(t for t in model.graph.initializer if t.name == name)
    changed = how(numpy_helper.to_array(tensor)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(changed, name))
    onnx.save(model, str(file))


def test_wrong_use_is_explained(bundle_folder: Path, capsys) -> None:
    for wrong, known in (("--part=mouth", "fusion"), ("--scheme=int3", "smoothquant")):
        with pytest.raises(SystemExit) as stopped:
            main([str(bundle_folder), "--scheme", "dynamic", wrong])
        assert stopped.value.code == 2 and known in capsys.readouterr().err
    assert main([str(bundle_folder / "nowhere"), "--scheme", "dynamic"]) == 1
    assert "bundle.yaml cannot be read" in capsys.readouterr().err


def test_missing_data_are_named(bundle_folder: Path, tmp_path: Path, capsys) -> None:
    arguments = [str(bundle_folder), "--scheme", "static", "--data", str(tmp_path / "nothing")]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "train_sent_emo.csv" in said and "nothing was written" in said
    assert not bundle_folder.with_name("tiny-static").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": ("mouth",)}, "unknown part mouth; known are text, audio"),
        ({"scheme": "int3"}, "unknown scheme 'int3'; known are weight-only"),
        ({"max_drop": float("nan")}, "max_drop is nan"),
    ],
)
def test_what_makes_no_sense_is_refused(
    changes: dict, message: str, bundle_folder: Path, tmp_path: Path, material: dict[str, Material]
) -> None:
    with pytest.raises(QuantizationError, match=message):
        quantized(bundle_folder, tmp_path / "small", material, **changes)


def test_neither_the_source_nor_other_folders_are_written_over(
    bundle_folder: Path, tmp_path: Path, material: dict[str, Material]
) -> None:
    with pytest.raises(QuantizationError, match="float32"):
        quantized(bundle_folder, bundle_folder, material)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("1")
    with pytest.raises(QuantizationError, match="exists"):
        quantized(bundle_folder, tmp_path / "thesis", material)


def test_an_older_bundle_is_replaced_as_a_whole(
    bundle_folder: Path, tmp_path: Path, material: dict[str, Material]
) -> None:
    out = tmp_path / "small"
    quantized(bundle_folder, out, material)
    (out / "left-over.onnx").write_bytes(b"old")
    quantized(bundle_folder, out, material, "dynamic")
    assert load_bundle(out).fusion.precision == "int8-dynamic"
    assert not (out / "left-over.onnx").exists()


def test_a_full_disk_leaves_no_half_bundle(
    bundle_folder: Path, tmp_path: Path, material: dict[str, Material], monkeypatch, capsys
) -> None:
    monkeypatch.setattr(command, "material_of", lambda bundle, data, corpus: material)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # bytes of a file
    try:
        arguments = ["--scheme", "weight-only", "--max-drop", "100", "--data", str(tmp_path)]
        status = main([str(bundle_folder), *arguments])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert status == 1 and "nothing was written" in error and "ERC_DATA" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_each_part_by_its_own_scheme(
    bundle_folder: Path, tmp_path: Path, material: dict[str, Material]
) -> None:
    out = tmp_path / "small"
    schemes = "audio=weight-only,fusion=dynamic"
    report = quantized(bundle_folder, out, material, schemes, ())
    made = {name: part["scheme"] for name, part in report["parts"].items()}
    assert made == {"audio": "weight-only", "fusion": "dynamic"}
    precisions = {name: part.precision for name, part in load_bundle(out).parts.items()}
    assert precisions == {
        "text": "float32", "audio": "int8-weights", "visual": "float32", "fusion": "int8-dynamic"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "parts", "message"),
    [
        ("audio=weight-only,audio=static", (), "each part once"),
        ("audio=", (), "must be one scheme, or PART=SCHEME"),
        ("mouth=static", (), "unknown part mouth"),
        ("audio=int3", (), "unknown scheme 'int3'"),
        ("audio=auto", (), "unknown scheme 'auto'"),
        ("audio=static", ("fusion",), "names the parts audio, --part fusion"),
    ],
)
def test_schemes_by_part_that_make_no_sense_are_refused(
    scheme: str,
    parts: tuple[str, ...],
    message: str,
    bundle_folder: Path,
    tmp_path: Path,
    material: dict[str, Material],
) -> None:
    with pytest.raises(QuantizationError, match=message):
        quantized(bundle_folder, tmp_path / "small", material, scheme, parts)


def test_a_bundle_without_faces_is_quantized_and_its_missing_part_is_no_part(
    tmp_path: Path, material: dict[str, Material]
) -> None:
    kinds = Kinds(text="magtkd", audio="waveform", visual="", tokens="roberta")
    source = write_tiny_bundle_3(tmp_path / "two", kinds)
    report = quantized(source, tmp_path / "small", material, "weight-only", ())
    assert "visual" not in report["parts"] and load_bundle(tmp_path / "small").visual is None
    with pytest.raises(QuantizationError, match=r"visual.*text.*audio.*fusion"):
        quantized(source, tmp_path / "other", material, parts=("visual",))
