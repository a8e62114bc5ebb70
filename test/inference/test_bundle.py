from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from bundles import ANCHORS, write_tiny_bundle

from erc_ros.inference.backend import open_network
from erc_ros.inference.bundle import BundleError, load_bundle, sha256_of
from erc_ros.networks.session import NetworkError
from erc_ros.resources import model_folder


@pytest.fixture()
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "bundle.yaml"
    manifest = yaml.safe_load(file.read_text())
    change(manifest)
    file.write_text(yaml.safe_dump(manifest, sort_keys=False))


def seal(folder: Path) -> None:
    """Update size and hash of every file, so that only its content is wrong."""

    def change(manifest: dict[str, Any]) -> None:
        for name, entry in manifest["files"].items():
            entry.update(sha256=sha256_of(folder / name), bytes=(folder / name).stat().st_size)

    edit(folder, change)


def test_a_good_bundle_is_read_completely(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.labels == tuple(ANCHORS) and bundle.anchors.shape == (7, 2)
    assert bundle.anchors[bundle.labels.index("joy")] == pytest.approx([0.8, 0.5])
    assert (bundle.name, bundle.version, bundle.calibration.temperature) == (
        "tiny",
        "0.0.1",
        1.5,
    )
    assert bundle.text.tokenizer.file == folder / "tokenizer.json" and bundle.fusion.context == 16
    assert bundle.sha256 == sha256_of(folder / "bundle.yaml")


def test_the_same_weights_give_the_same_hash(tmp_path: Path) -> None:
    one, two, other = (
        load_bundle(write_tiny_bundle(tmp_path / name, seed)).sha256
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == two != other


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere/bundle\.yaml.*erc models"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["segmentation", "speaker-campplus"])
def test_a_model_of_another_kind_is_named(name: str) -> None:
    with pytest.raises(BundleError, match=f"{name[:7]}.*erc models") as error:
        load_bundle(model_folder(name))
    assert "bundle.yaml" not in str(error.value)


@pytest.mark.parametrize("text", ["labels: [a", "just words", "", "a: &a [*a]\nb: !!python/x 1"])
def test_a_manifest_that_is_no_mapping(folder: Path, text: str) -> None:
    (folder / "bundle.yaml").write_text(text)
    with pytest.raises(BundleError, match="restore"):
        load_bundle(folder)


def test_a_manifest_of_random_bytes(folder: Path) -> None:
    (folder / "bundle.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(BundleError, match="YAML"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["text.onnx", "audio.onnx", "fusion.onnx", "tokenizer.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read .*fetch the bundle again"):
        load_bundle(folder)


def test_a_file_cut_short(folder: Path) -> None:
    data = (folder / "face.onnx").read_bytes()
    (folder / "face.onnx").write_bytes(data[:-1])
    with pytest.raises(BundleError, match=f"has {len(data) - 1} bytes, expected {len(data)}"):
        load_bundle(folder)


def test_a_changed_byte(folder: Path) -> None:
    data = bytearray((folder / "audio.onnx").read_bytes())
    data[-5] ^= 1
    (folder / "audio.onnx").write_bytes(data)
    with pytest.raises(BundleError, match=r"audio\.onnx.*sha256"):
        load_bundle(folder)


def test_a_file_that_is_no_network(folder: Path) -> None:
    (folder / "text.onnx").write_bytes(b"not a network")
    seal(folder)
    with pytest.raises(BundleError, match=r"text\.onnx.*ONNX"):
        load_bundle(folder)


def test_a_file_that_is_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    seal(folder)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        load_bundle(folder)


def test_a_network_of_another_part(folder: Path) -> None:
    shutil.copy(folder / "face.onnx", folder / "audio.onnx")
    seal(folder)
    with pytest.raises(BundleError, match=r"audio\.onnx.*faces.*features"):
        load_bundle(folder)


def test_a_network_of_another_size(folder: Path) -> None:
    model = onnx.load(str(folder / "face.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "channels"
    onnx.save(model, str(folder / "face.onnx"))
    seal(folder)
    expected = r"faces has shape \(any, any, 48, 48\), expected \(any, 1, 48, 48\)"
    with pytest.raises(BundleError, match=expected):
        load_bundle(folder)


def test_an_embedding_of_another_size_than_the_manifest_says(folder: Path) -> None:
    edit(folder, lambda m: m["audio"].update(embedding=512))
    with pytest.raises(BundleError, match=r"\(any, 128\).*\(any, 512"):
        load_bundle(folder)


def test_a_newer_format(folder: Path) -> None:
    edit(folder, lambda m: m.update(format=4, something_new=1))
    with pytest.raises(BundleError, match="format is 4; this erc_ros reads 3: update"):
        load_bundle(folder)


BROKEN: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda m: m.update(format="1"), "format is '1'"),
    (lambda m: m.update(format=True), "format is True"),
    (lambda m: m.update(calibratoin=1.0), r"has no \['calibratoin'\]; it has .*calibration"),
    (lambda m: m["text"].update(vocab=3), r"text has no \['vocab'\]; it has .*tokenizer"),
    (lambda m: m.update(format=2), "format is 2"),
    (lambda m: m["fusion"].pop("causal"), r"fusion lacks \['causal'\]"),
    (lambda m: m.update(version=1.0), "version must be a string, got 1.0"),
    (lambda m: m.update(name=" "), "name is empty"),
    (lambda m: m["fusion"].update(causal=1), "fusion.causal must be a bool, got 1"),
    (lambda m: m["fusion"].update(context=0), "fusion: context must be in"),
    (lambda m: m["fusion"].update(context=True), "fusion.context must be an int, got True"),
    (lambda m: m["audio"].update(max_seconds=float("inf")), "max_seconds must be in"),
    (lambda m: m["text"].update(precision="int3"), "text: precision must be one of"),
    (lambda m: m["text"].update(max_tokens=3), "max_tokens is 3"),
    (lambda m: m["text"].update(file="../text.onnx"), "text.file is '../text.onnx'; only plain"),
    (lambda m: m["text"].update(file="/etc/passwd"), "only plain names"),
    (lambda m: m["text"]["tokenizer"].update(file=".."), "text.tokenizer.file is"),
    (lambda m: m["text"]["tokenizer"].update(file={"a": "b"}), "text.tokenizer.file is"),
    (lambda m: m["text"].update(file="a\\b"), "only plain names"),
    (lambda m: m["audio"].update(mel_bands=40), "audio: mel_bands must be in"),
    (lambda m: m.update(labels=["joy"]), "at least two names"),
    (lambda m: m.update(labels=["joy", "joy"]), "a name twice"),
    (lambda m: m["labels"].append("calm"), "anchors and labels differ in calm"),
    (lambda m: m["anchors"].pop("joy"), "anchors and labels differ in joy"),
    (lambda m: m["anchors"].update(joy=[2.0, 0.0]), r"anchors.joy is \[2.0, 0.0\]"),
    (lambda m: m["anchors"].update(joy=[0.1]), "anchors.joy must have 2 values"),
    (lambda m: m["anchors"].update(joy=[float("nan"), 0]), "anchors.joy is"),
    (lambda m: m["calibration"].update(temperature=0.0), "calibration: temperature must be in"),
    (lambda m: m["calibration"].update(temperature=-1), "temperature must be in"),
    (lambda m: m["calibration"].update(temperature=float("nan")), "temperature must be in"),
    (lambda m: m["calibration"].update(temperature=[1]), "temperature must be a float"),
    (lambda m: m["files"].pop("text.onnx"), r"files lacks text.onnx \(named by text.file\)"),
    (
        lambda m: m["files"].update({"x.bin": {"sha256": "00", "bytes": 1}}),
        "files lists x.bin, which no",
    ),
    (lambda m: m["files"].update({"x.bin": {}}), "files.x.bin lacks"),
    (lambda m: m["files"].update({"text.onnx": "abc"}), "files.text.onnx must be a mapping"),
    (lambda m: m["files"]["text.onnx"].pop("bytes"), r"files.text.onnx lacks \['bytes'\]"),
    (lambda m: m["files"]["text.onnx"].update(sha256="00"), "has sha256 .* expected 00"),
    (lambda m: m["labels"].__setitem__(0, 7), r"labels\[0\] must be a string, got 7"),
    (lambda m: m["labels"].__setitem__(0, ""), "at least two names"),
    (lambda m: m["fusion"].update(causal=False), "later utterances"),
    (lambda m: m["text"].update(heads=5), "embedding is 384; must be a multiple of heads, 5"),
    (
        lambda m: m["files"]["text.onnx"].update(bytes=1 << 40),
        "files.text.onnx: bytes must be in",
    ),
    (
        lambda m: m["text"].update(embedding=12 * 10**8),
        "embedding must be in",
    ),
]


@pytest.mark.parametrize("change, message", BROKEN, ids=[message for _, message in BROKEN])
def test_a_manifest_that_does_not_fit(
    folder: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_a_linked_file_is_as_good_as_a_copy(folder: Path, tmp_path: Path) -> None:
    (folder / "text.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "text.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    assert load_bundle(folder).name == "tiny"


def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(NetworkError, match="'tpu'"):
        open_network(folder / "text.onnx", "tpu")


def test_cuda_without_its_provider(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(NetworkError, match=r"onnxruntime-gpu.*'cpu'"):
        open_network(folder / "text.onnx", "cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_falls_back_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    with pytest.raises(NetworkError, match="CUDA"):
        open_network(folder / "text.onnx", "cuda")


def test_a_network_is_a_function(folder: Path) -> None:
    faces = np.zeros((3, 1, 48, 48), np.float32)
    outputs = open_network(folder / "face.onnx")({"faces": faces})
    assert outputs["embedding"].shape == (3, 128)
