"""What pip installs. colcon reads CMakeLists.txt and package.xml instead; setup.cfg serves both."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "erc_ros"
SHARE = f"share/{NAME}"
COMMANDS = ("emotion", "emotion_node", "erc", "utterance_node")  # for `ros2 run`
HERE = Path(__file__).resolve().parent


def text_of(element: str) -> str:
    """What package.xml says, so that version and description are written once."""
    return ElementTree.parse(HERE / "package.xml").findtext(element, "").strip()


def tree(folder: str) -> list[tuple[str, list[str]]]:
    """Every file below `folder`, to lie at the same place below share/erc_ros."""
    return [
        (f"{SHARE}/{path}", sorted(f"{path}/{name}" for name in names))
        for path, folders, names in os.walk(folder)
        if names and not path.endswith("__pycache__")
    ]


os.chdir(HERE)
setup(
    name=NAME,
    version=text_of("version"),
    description=text_of("description"),
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["py.typed"],
        f"{NAME}.dialogue": ["assets/*"],
        f"{NAME}.evaluation": ["templates/*"],
        f"{NAME}.training.datasets": ["*.txt"],
        f"{NAME}.demo": ["assets/*", "assets/**/*"],
    },
    include_package_data=False,
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        *tree("config"),
        *tree("launch"),
        *tree("corpora"),
        *tree("models"),
        (f"lib/{NAME}", [f"scripts/{name}" for name in COMMANDS]),
    ],
    # Bounds only: requirements/ has the versions that are tested, the oldest and the newest.
    # Never add the interfaces' wheel here: on a ROS installation colcon builds them.
    install_requires=[
        "numpy>=1.21.5",
        "onnxruntime>=1.23.2",
        "opencv-python-headless>=4.5.4,<5",  # 5 has no Haar cascades
        "PyYAML>=5.4",
        "soxr>=0.5",
        "tokenizers>=0.21",
    ],
    extras_require={
        # ROS 2 Kilted as wheels, for machines without a ROS installation (x86-64).
        "ros": [
            "ros-rclpy[fastrtps]==9.1.2",
            "ros-diagnostic-msgs==5.5.1",
            "ros-lifecycle-msgs==2.3.0",
            "ros-sensor-msgs==5.5.1",
            "ros-std-msgs==5.5.1",
            "ros-std-srvs==5.5.1",
            "ros-visualization-msgs==5.5.1",
        ],
        # Instead of onnxruntime, never beside it: they overwrite each other (docs/engines.md).
        "gpu": ["onnxruntime-gpu>=1.23.2"],
        "engines": ["onnx>=1.17"],  # erc build-engines for TensorRT
        "replay": ["matplotlib>=3.5", "rosbags==0.11.9"],
        "media": ["av>=14", "matplotlib>=3.5", "tqdm>=4.60"],  # erc replay talk.mp4
        "demo": ["espeakng-loader==0.2.4"],
        "bench": ["pyannote.metrics==4.2.0", "scipy"],
        "evaluate": [  # erc evaluate-bag: annotations in, scores and a report out
            "av>=14",  # sound and pictures of the report, WAV and MP4 for ELAN
            "defusedxml==0.7.1",
            "jinja2>=3.1",  # the report
            "matplotlib>=3.5",
            "praatio==6.2.2",  # TextGrid
            "pympi-ling==1.71",  # ELAN
            "rosbags==0.11.9",
            "tqdm>=4.60",
        ],
        "train": [
            "accelerate>=1.15",  # several GPUs
            "av>=14",  # the sound and pictures of MELD's clips
            "matplotlib>=3.5",
            "onnx>=1.17",
            "onnxscript",
            "pillow",  # transformers' image processors
            "safetensors",
            "scikit-learn",
            "soundfile",
            "tensorboardX>=2.6.5",
            "torch==2.13.0",
            "transformers>=5",
        ],
        "opensmile": ["opensmile>=2.5"],  # SUMMER's acoustics; its licence is for research only
        "ray": ["ray[data]>=2.40"],  # encoding a corpus on several machines
        "test": [
            "hypothesis>=6",
            "meeteval==0.4.3",  # compares the word error rates; a source package, needs g++
            "onnx>=1.17",
            "py_trees>=2.3",  # runs an example
            "pyannote.metrics==4.2.0",  # compares the errors of speakers and emotions
            "pytest>=8",
            "pytest-cov>=6",
            "pytest-xdist>=3.6",  # `make test` uses two processes
            "pytest-rerunfailures>=16.1",  # for the marker `dds` alone: test/conftest.py
            "rosbags-image==0.10.4",
            "selenium>=4.30",  # the report in a browser
            "soundfile",
        ],
        "docs": ["mkdocs-material>=9.7", "mkdocstrings-python>=2"],  # pinned for Python 3.11 on
        "lint": ["import-linter>=2.16", "mypy>=2", "ruff", "types-PyYAML"],
    },
)
