"""`erc doctor`: report which features work here, and how to install missing ones."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

EXTRAS = {
    "media": ("av", "matplotlib", "praatio", "pympi", "defusedxml", "tqdm"),
    "live": ("av", "sounddevice"),
    "replay": ("rosbags", "matplotlib"),
    "evaluate": ("av", "jinja2", "praatio", "pympi", "defusedxml", "rosbags", "scipy"),
    "demo": ("espeakng_loader",),
    "train": ("torch", "transformers", "accelerate", "sklearn", "soundfile"),
    "engines": ("onnx",),
    "whisper": ("faster_whisper",),
    "whispercpp": ("pywhispercpp",),
    "vosk": ("vosk",),
    "pocketsphinx": ("pocketsphinx",),
}
"""Extra -> modules that it installs."""

PURPOSES = {
    "media": "video and audio files",
    "live": "erc live, erc sense",
    "replay": "rosbags",
    "evaluate": "erc evaluate, erc agreement",
    "demo": "erc demo, erc make-bag",
    "train": "training and export",
    "engines": "TensorRT, erc quantize",
    "whisper": "--recognizer faster-whisper",
    "whispercpp": "--recognizer whisper.cpp",
    "vosk": "--recognizer vosk",
    "pocketsphinx": "--recognizer pocketsphinx",
}
"""Extra -> commands and features that need it."""

ROS = ("rclpy", "erc_msgs", "sensor_msgs", "diagnostic_msgs", "audio_common_msgs", "hri_msgs")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. state: "ok", "missing" or "warning". remedy: "": none."""

    name: str
    state: str
    detail: str
    remedy: str = ""


def checks() -> list[Check]:
    """Check this machine without opening a camera or microphone."""
    checks_done = [
        Check("python", "ok", f"{platform.python_version()} on {platform.machine()}"),
        _runtime(),
    ]
    missing = [name for name in ROS if not _has(name)]
    checks_done.append(
        Check("ROS 2", "ok", "rclpy and the messages")
        if not missing
        else Check(
            "ROS 2",
            "missing",
            f"{', '.join(missing)}; only for nodes, erc run, erc demo, erc sense",
            "source a ROS installation, or pip install '.[ros]' ./interfaces",
        )
    )
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if not _has(name)]
        checks_done.append(
            Check(f"[{extra}]", "ok", ", ".join(modules))
            if not missing
            else Check(
                f"[{extra}]",
                "missing",
                f"{', '.join(missing)}; only for {PURPOSES[extra]}",
                f"pip install '.[{extra}]'",
            )
        )
    return [*checks_done, _cameras(), _microphones()]


def _has(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None  # a folder of definitions has no origin


def _runtime() -> Check:
    import onnxruntime

    providers = [p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()]
    return Check("onnxruntime", "ok", f"{onnxruntime.__version__}: {', '.join(providers)}")


def _cameras() -> Check:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        return Check("camera", "missing", "no /dev/video*", "connect a camera")
    unreadable = [str(device) for device in devices if not _is_readable(device)]
    if unreadable:
        return Check(
            "camera",
            "warning",
            f"no permission for {', '.join(unreadable)}",
            "add your user to the group video",
        )
    return Check("camera", "ok", ", ".join(map(str, devices)))


def _microphones() -> Check:
    cards = sorted(Path("/dev/snd").glob("pcm*c")) if Path("/dev/snd").is_dir() else []
    if _has("sounddevice") and find_library("portaudio") is None and sys.platform == "linux":
        return Check(
            "microphone",
            "missing",
            "the library PortAudio, which sounddevice requires",
            "sudo apt install libportaudio2",
        )
    if not cards:
        return Check("microphone", "missing", "no capture device in /dev/snd", "connect one")
    if not all(_is_readable(card) for card in cards):
        return Check(
            "microphone",
            "warning",
            "no permission for /dev/snd",
            "add your user to the group audio",
        )
    return Check("microphone", "ok", ", ".join(map(str, cards)))


def _is_readable(device: Path) -> bool:
    return os.access(device, os.R_OK)


def main(argv: Sequence[str]) -> int:
    """Print the report and return 0: a missing extra is not an error."""
    argparse.ArgumentParser(
        prog="erc doctor",
        description="Report which features work on this machine, and how to install missing ones.",
    ).parse_args(argv)
    for check in checks():
        remedy = f"  ->  {check.remedy}" if check.remedy else ""
        print(f"{check.state:<8} {check.name:<15} {check.detail}{remedy}")
    sys.stdout.flush()
    return 0
