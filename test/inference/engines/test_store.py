from __future__ import annotations

import contextlib
import fcntl
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from erc_ros.inference.engines import store
from erc_ros.inference.engines.store import EngineError, Key

HERE = Key("b" * 64, "Orin, compute 8.7", "TensorRT 10.3.0", "float16")


@pytest.fixture()
def model(folder: Path) -> Path:
    return folder / "text.onnx"


def saved(model: Path, data: bytes = b"engine", key: Key = HERE) -> Path:
    file = store.engine_file(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    store.save(file, data, key)
    return file


def test_a_saved_engine_is_found_with_what_is_known_of_it(model: Path) -> None:
    file = saved(model)
    assert store.find(model, HERE) == file and file.read_bytes() == b"engine"
    assert sorted(p.name for p in file.parent.iterdir()) == [file.name, "text.tensorrt.json"]


def test_no_engine_is_no_error(model: Path) -> None:
    assert store.find(model, HERE) is None
    assert not store.folder_of(model).exists()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"bundle": "c" * 64}, r"built for bundle bbbb.*, here is cccc"),
        ({"machine": "Thor, compute 11.0"}, "built for machine Orin, .* here is Thor"),
        ({"builder": "TensorRT 10.16.0"}, r"built for builder TensorRT 10\.3\.0, here is"),
        ({"precision": "int8 and float16"}, "built for precision float16, here is int8"),
    ],
)
def test_a_stale_or_foreign_engine_is_named_and_explained(
    model: Path, change: dict[str, str], said: str
) -> None:
    saved(model)
    with pytest.raises(EngineError, match=rf"text\.tensorrt\.engine is skipped: {said}.*erc "):
        store.find(model, replace(HERE, **change))


@pytest.mark.parametrize(
    "data, said",
    [(b"engin", "was changed after"), (b"Engine", "was changed after"), (None, "read")],
)
def test_an_engine_cut_short_edited_or_gone(model: Path, data: bytes | None, said: str) -> None:
    file = saved(model)
    file.unlink() if data is None else file.write_bytes(data)
    with pytest.raises(EngineError, match=rf"text\.tensorrt\.engine .*{said}.*build-engines"):
        store.find(model, HERE)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"key": {"bundle": 1}}',
        b'{"key": {}, "sha256": ""}',
        None,
    ],
)
def test_an_invalid_record(model: Path, record: bytes | None) -> None:
    json_file = saved(model).with_suffix(".json")
    json_file.unlink() if record is None else json_file.write_bytes(record)
    with pytest.raises(EngineError, match="erc build-engines"):
        store.find(model, HERE)


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    code = (
        "import resource\nfrom pathlib import Path\n"
        "from erc_ros.inference.engines import store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"file = Path({str(tmp_path)!r}, 'text.tensorrt.engine')\n"
        "key = store.Key('', '', '', '')\n"
        "store.save(file, b'x' * 5000, key)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "EngineError" in run.stderr and "cannot be written (File too large)" in run.stderr
    assert "free disk space" in run.stderr and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(EngineError, match="written"),
        store.building(tmp_path / "file" / "engines", print),
    ):
        pass


def test_of_two_builds_the_second_says_so_and_waits(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with store.building(tmp_path, lambda text: (order.append(text), waits.set())):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.building(tmp_path, order.append):
        thread.start()
        assert waits.wait(60)
        order.append("first ends")
    thread.join(60)
    waiting = f"another build runs in {tmp_path}; waiting for its end"
    assert order == [waiting, "first ends", "second"]


def test_what_a_killed_build_left_is_taken_away_and_its_lock_is_free(tmp_path: Path) -> None:
    code = (
        "import os\nfrom pathlib import Path\nfrom erc_ros.inference.engines import store\n"
        f"with store.building(Path({str(tmp_path)!r}), print):\n"
        f"    Path({str(tmp_path)!r}, 'text.tensorrt.engine.unfinished').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    said: list[str] = []
    with store.building(tmp_path, said.append):
        assert [p.name for p in tmp_path.iterdir()] == ["lock"] and said == []


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    def is_free() -> bool:
        with (tmp_path / "lock").open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), store.building(tmp_path, pytest.fail):
            assert not is_free()
            _ = 1 / 0
        assert is_free()


def test_others_cannot_write_where_engines_lie(tmp_path: Path) -> None:
    with store.building(tmp_path / "engines" / "tiny", print):
        assert (tmp_path / "engines" / "tiny").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "variables, place",
    [
        ({"ERC_ENGINES": "/a", "XDG_CACHE_HOME": "/b"}, "/a/bundle"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/erc_ros/engines/bundle"),
        ({"HOME": "/c"}, "/c/.cache/erc_ros/engines/bundle"),
    ],
)
def test_where_engines_lie(
    model: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str
) -> None:
    for name in ("ERC_ENGINES", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert store.folder_of(model) == Path(place)


def test_the_hash_of_a_bundle_is_that_of_its_manifest(model: Path, tmp_path: Path) -> None:
    before = store.bundle_hash(model)
    manifest = model.parent / "bundle.yaml"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    assert len(before) == 64 and store.bundle_hash(model) != before
    assert store.bundle_hash(tmp_path / "alone.onnx") == ""


def test_the_record_can_be_read_by_people(model: Path) -> None:
    record = json.loads(saved(model).with_suffix(".json").read_text())
    assert record["key"]["machine"] == HERE.machine and len(record["sha256"]) == 64
