from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from erc_ros.cli import main
from erc_ros.inference.backend import open_network
from erc_ros.inference.bundle import load_bundle
from erc_ros.inference.emotion_recognizer import EmotionRecognizer
from erc_ros.inference.engines import build as building
from erc_ros.inference.engines import store, tensorrt_engine
from erc_ros.inference.engines.agreement import disagreement, keep, kept
from erc_ros.inference.engines.build import build, check
from erc_ros.inference.engines.store import EngineError
from erc_ros.networks import gpu
from erc_ros.networks.session import NetworkError, on_cpu
from erc_ros.training.manifest import write_manifest

PARTS = ("text", "audio", "face", "fusion")
FACES = {"faces": np.full((2, 1, 48, 48), 0.5, np.float32)}


def same_answers(folder: Path, device: str) -> None:
    bundle = load_bundle(folder)
    with EmotionRecognizer(bundle, device) as one, EmotionRecognizer(bundle, "cpu") as two:
        for utterance in building.conversation(bundle):
            actual, expected = one.feed(utterance), two.feed(utterance)
            np.testing.assert_allclose(actual.probabilities, expected.probabilities, atol=0.02)


def form_for_tensorrt(folder: Path) -> Path:
    """Write a variant in the bundle's folder `tensorrt`, with the same networks."""
    form = Path(shutil.copytree(folder, folder / "tensorrt"))
    manifest = yaml.safe_load((form / "bundle.yaml").read_text())
    manifest.pop("files")
    manifest["metrics"] = {"quantization": {"float32_sha256": load_bundle(folder).sha256}}
    write_manifest(form, manifest)
    return form


def test_the_inputs_that_are_kept_come_back_as_they_were(folder: Path) -> None:
    for part in building.recorded(load_bundle(folder)):
        store.folder_of(part.file).mkdir(parents=True, exist_ok=True)
        keep(part.file, part.stored)
        for before, after in zip(part.stored, kept(part.file), strict=True):
            for one, other in zip(before, after, strict=True):
                assert one.keys() == other.keys()
                assert all((one[name] == other[name]).all() for name in one)
        assert disagreement(on_cpu(part.file), kept(part.file), 0.0) == 0.0


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no archive", None])
def test_kept_inputs_that_cannot_be_read(folder: Path, data: bytes | None) -> None:
    file = store.check_file(folder / "text.onnx")
    if data is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    with pytest.raises(EngineError, match=r"text\.check\.npz"):
        kept(folder / "text.onnx")


def test_an_output_that_differs_is_no_agreement() -> None:
    stored = [({"x": np.ones(3)}, {"y": np.array([1.0, 2.0, 4.0])})]
    assert disagreement(lambda x: {"y": np.array([1.0, 2.0, 4.04])}, stored, 0.02) == (
        pytest.approx(0.01)
    )
    with pytest.raises(EngineError, match=r"ONNX.*12.50"):
        disagreement(lambda x: {"y": np.array([1.0, 2.5, 4.0])}, stored, 0.02)
    with pytest.raises(EngineError, match="finite"):
        disagreement(lambda x: {"y": np.array([1.0, np.nan, 4.0])}, stored, 0.02)
    with pytest.raises(EngineError, match=r"shape \(2,\), expected \(3,\)"):
        disagreement(lambda x: {"y": np.ones(2)}, stored, 0.02)


def test_check_reports_what_tensorrt_supports(
    folder: Path, capsys: pytest.CaptureFixture[str], engines: Path
) -> None:
    assert main(["build-engines", str(folder), "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all("fit for TensorRT, float16" in line for line in lines)
    assert "text: " in lines[0] and "3 shape profiles" in lines[0] and not engines.exists()


@pytest.mark.parametrize("name", ["edge-small", "edge-open"])
def test_the_bundles_that_ship_are_fit_for_tensorrt_as_they_are(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build-engines", name, "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and all("fit for TensorRT, float16" in line for line in lines)
    assert all(float(line.split("differs by ")[1].rstrip("%")) < 1 for line in lines)


def test_check_names_what_is_not_and_the_way_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantize = pytest.importorskip("onnxruntime.quantization")
    source, target = folder / "face.onnx", folder / "int8.onnx"

    class Faces(quantize.CalibrationDataReader):  # type: ignore[misc, name-defined]
        left = 1

        def get_next(self) -> dict[str, np.ndarray] | None:
            self.left -= 1
            return FACES if self.left >= 0 else None

    form = quantize.QuantFormat.QOperator  # pairs could be made float again
    quantize.quantize_static(str(source), str(target), Faces(), form)
    target.replace(source)
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    manifest.pop("files")
    write_manifest(folder, manifest)
    assert main(["build-engines", str(folder), "--check"]) == 1
    said = capsys.readouterr().out
    assert "not built: visual: TensorRT does not support face.onnx" in said
    assert (
        "is not supported by TensorRT" in said
        and "erc quantize FLOAT32_BUNDLE --target tensorrt --out" in said
        and "text: fit" in said
    )


def test_an_invalid_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-engines", str(tmp_path)]) == 1
    assert "bundle.yaml cannot be read" in capsys.readouterr().err
    assert main(["build-engines", "no-such-bundle"]) == 1
    assert "no model 'no-such-bundle'" in capsys.readouterr().err


# With the stand-ins for a GPU and for TensorRT -----------------------------------------------


def test_engines_are_built_agree_and_run(
    folder: Path, tensorrt: None, capsys: pytest.CaptureFixture[str], engines: Path
) -> None:
    assert main(["build-engines", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.count("engine for Stand-in, compute 8.7, driver 12.6 (float16)") == 4
    assert main(["build-engines", str(folder)]) == 0
    assert capsys.readouterr().out.count("a valid engine exists") == 4
    network = open_network(folder / "text.onnx", "auto")
    assert (network.device, network.note) == ("tensorrt", "")
    same_answers(folder, "auto")


def test_a_network_of_dynamic_int8_becomes_an_engine_as_well(
    folder: Path, tensorrt: None, capsys: pytest.CaptureFixture[str]
) -> None:
    quantize = pytest.importorskip("onnxruntime.quantization")
    quantize.quantize_dynamic(
        str(folder / "text.onnx"), str(folder / "int8.onnx"), op_types_to_quantize=["MatMul"]
    )
    (folder / "int8.onnx").replace(folder / "text.onnx")
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    manifest.pop("files")
    write_manifest(folder, manifest)
    assert build(folder) == []
    assert open_network(folder / "text.onnx", "auto").device == "tensorrt"
    assert "text: engine for" in capsys.readouterr().out
    same_answers(folder, "auto")  # on the CPU with int8 activations


def test_engines_are_built_from_the_variant_for_tensorrt(
    folder: Path, tensorrt: None, engines: Path, caplog: pytest.LogCaptureFixture
) -> None:
    form = form_for_tensorrt(folder)
    assert build(folder) == []
    assert {f"{part}.tensorrt.engine" for part in PARTS} <= {
        file.name for file in (engines / "bundle-tensorrt").iterdir()
    }
    assert not list((engines / "bundle").glob("*.tensorrt.*"))
    assert open_network(folder / "face.onnx", "auto").device == "tensorrt"
    assert check(folder) == []
    same_answers(folder, "auto")
    manifest = folder / "bundle.yaml"
    manifest.write_bytes(manifest.read_bytes() + b"# another bundle\n")
    tensorrt_engine.probe.cache_clear()
    assert open_network(folder / "face.onnx", "auto").device == "cpu"
    assert "built for bundle" in caplog.text
    (failed,) = build(folder)
    assert f"{form} was made of another float32 bundle" in failed and check(folder) == [failed]


def test_an_engine_takes_every_length_and_any_thread(folder: Path, tensorrt: None) -> None:
    build(folder)
    network, expected = (
        open_network(folder / "text.onnx", "tensorrt"),
        open_network(folder / "text.onnx"),
    )
    calls = [inputs for inputs, _ in kept(folder / "text.onnx")]
    assert len({inputs["input_ids"].shape[1] for inputs in calls}) > 4
    wrong: list[object] = []

    def work() -> None:
        for inputs in calls:
            for name, array in network(inputs).items():
                if not np.allclose(array, expected(inputs)[name], atol=0.05):
                    wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_shape_without_a_profile_goes_to_the_next_device(
    folder: Path, tensorrt: None, caplog: pytest.LogCaptureFixture
) -> None:
    build(folder)
    network = open_network(folder / "face.onnx", "auto")
    many = {"faces": np.zeros((9, 1, 48, 48), np.float32)}
    assert network.device == "tensorrt" and network(many)["embedding"].shape == (9, 128)
    assert network.device == "cpu" and "no profile for inputs" in caplog.text


def test_a_tensorrt_that_ends_its_process_does_not_end_ours(
    folder: Path,
    tensorrt: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    build(folder)
    monkeypatch.setenv("STAND_IN", "crash")
    tensorrt_engine.probe.cache_clear()
    networks = [open_network(folder / f"{part}.onnx", "auto") for part in PARTS]
    assert [network.device for network in networks] == ["cpu"] * 4
    (record,) = caplog.records
    assert "tensorrt cannot be used (TensorRT ended its process with signal 11)" in record.message
    with pytest.raises(NetworkError, match="signal 11"):
        open_network(folder / "text.onnx", "tensorrt")


@pytest.mark.parametrize(
    "variables, said",
    [
        ({"STAND_IN": "wrong"}, "differ from ONNX Runtime's by"),
        ({"STAND_IN": "fail"}, "TensorRT refused to run"),
        (
            {"STAND_IN_VERSION": "10.16.0"},
            "built for builder TensorRT 10.3.0, shapes 2, here is TensorRT 10.16",
        ),
    ],
)
def test_an_engine_that_does_not_agree_any_more_is_passed_over(
    folder: Path,
    tensorrt: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    said: str,
) -> None:
    build(folder)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    tensorrt_engine.probe.cache_clear()
    network = open_network(folder / "face.onnx", "auto")
    assert network.device == "cpu" and said in network.note and said in caplog.text


def test_an_edited_engine_is_passed_over_and_built_again(
    folder: Path, tensorrt: None, caplog: pytest.LogCaptureFixture
) -> None:
    build(folder)
    engine = store.engine_file(folder / "face.onnx")
    data = bytearray(engine.read_bytes())
    data[-1] ^= 1
    engine.write_bytes(data)
    tensorrt_engine.probe.cache_clear()
    assert open_network(folder / "face.onnx", "auto").device == "cpu"
    assert "was changed after it was built" in caplog.text
    build(folder)
    tensorrt_engine.probe.cache_clear()
    assert open_network(folder / "face.onnx", "auto").device == "tensorrt"


def test_a_model_that_tensorrt_refuses_is_reported_and_the_others_are_built(
    folder: Path,
    tensorrt: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STAND_IN", "refuse")
    assert main(["build-engines", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "not built: text: TensorRT could not build the engine (no implementation for" in said
    assert not store.engine_file(folder / "text.onnx").exists()
    assert open_network(folder / "text.onnx", "auto").device == "cpu"


def test_an_engine_whose_outputs_are_wrong_is_not_kept(
    folder: Path, tensorrt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "wrong")
    failed = build(folder)
    assert len(failed) == 4 and all("differ from ONNX Runtime's" in text for text in failed)
    assert not list(store.folder_of(folder / "text.onnx").glob("*.tensorrt.engine"))
    assert (
        "differ from" in open_network(folder / "text.onnx", "auto").note
    )  # the build is not repeated


def test_an_engine_that_onnx_runtime_outruns_is_not_kept(
    folder: Path,
    tensorrt: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STAND_IN_CPU_MS", "")
    monkeypatch.setenv("STAND_IN", "sleepy")
    failed = build(folder)
    assert len(failed) == 4
    assert all("ONNX Runtime (cpu) is faster here: " in text for text in failed)
    assert not list(store.folder_of(folder / "text.onnx").glob("*.tensorrt.engine"))
    assert "is faster here" in open_network(folder / "text.onnx", "auto").note
    capsys.readouterr()
    assert build(folder, again=False) == []
    assert capsys.readouterr().out.count("not built again: ONNX Runtime (cpu) is faster") == 4
    assert main(["build-engines", str(folder), "--keep-slower"]) == 0
    assert open_network(folder / "text.onnx", "auto").device == "tensorrt"


def test_what_was_refused_gets_another_chance_with_another_driver(
    folder: Path, tensorrt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "refuse")
    assert len(build(folder)) == 4
    monkeypatch.delenv("STAND_IN")
    assert build(folder, again=False) == []
    assert open_network(folder / "text.onnx", "auto").device == "cpu"
    monkeypatch.setenv("STAND_IN_DRIVER", "13020")
    assert build(folder, again=False) == []
    assert open_network(folder / "text.onnx", "auto").device == "tensorrt"


def test_ctrl_c_ends_a_build_and_leaves_nothing_unfinished(
    folder: Path, tensorrt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "slow")
    code = (
        "from erc_ros.inference.engines.build import build; from erc_ros.networks import gpu; "
        f"gpu.LIBRARY = {gpu.LIBRARY!r}; "
        f"build({str(folder)!r}, begin=lambda part: print(part, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline() != "text\n":
        assert process.poll() is None
    while process.poll() is None:  # until TensorRT is at work, Python itself handles the signal
        process.send_signal(signal.SIGINT)
        threading.Event().wait(0.2)
    assert process.returncode != 0
    left = {file.name for file in store.folder_of(folder / "text.onnx").iterdir()}
    assert not [name for name in left if "tensorrt" in name or "unfinished" in name]
    monkeypatch.delenv("STAND_IN")
    assert build(folder) == []  # the lock is free


def test_tensorrt_that_cannot_be_imported_is_an_error_not_a_crash(
    folder: Path, tensorrt: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken" / "tensorrt"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libnvinfer.so.10 not found')")
    monkeypatch.syspath_prepend(str(broken.parent))
    (failed,) = build(folder)
    assert "TensorRT cannot be imported (libnvinfer.so.10 not found)" in failed


def test_the_gpu_and_its_memory(tensorrt: None) -> None:
    device = gpu.Gpu()
    assert device.name == gpu.GpuName("Stand-in", "8.7")
    array, back = np.arange(12, dtype=np.float32), np.zeros(12, np.float32)
    memory = device.allocate(array.nbytes)
    device.upload(array, memory)
    device.download(memory, back)
    device.wait()
    assert (back == array).all()


def test_a_key_has_the_machine_the_version_the_bundle_and_the_precision(
    folder: Path, tensorrt: None
) -> None:
    key = tensorrt_engine.machine().key(folder / "face.onnx")
    assert (
        key.machine == "Stand-in, compute 8.7, driver 12.6"
        and key.builder == "TensorRT 10.3.0, shapes 2"
    )
    assert key.bundle == store.bundle_hash(folder / "face.onnx") and key.precision == "float16"
    assert replace(key, bundle="").difference(key) != ""


def test_quantized_models_have_another_precision(folder: Path) -> None:
    model = onnx.load(str(folder / "face.onnx"))
    node = onnx.helper.make_node("DequantizeLinear", ["a", "b"], ["c"])
    model.graph.node.append(node)
    onnx.save(model, str(folder / "face.onnx"))
    assert tensorrt_engine.precision(folder / "face.onnx") == "float16, int8 where it is symmetric"


def test_check_and_build_agree_on_what_is_missing_here(folder: Path) -> None:
    if gpu.driver() is not None:
        pytest.skip("there is a GPU")
    assert tensorrt_engine.missing().startswith("no NVIDIA driver")
    assert check(folder) == [] and build(folder) == []
