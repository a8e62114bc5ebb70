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
ROSBAGS = "rosbags>=0.11.9,<0.12"
PYANNOTE = "pyannote.metrics>=3.2,<5"  # 3 is the last one for Python 3.10


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
    # The code; Silero's and pyannote's networks; the corpus and the face of the demo; the default
    # bundle, which is for non-commercial use.
    license_expression="Apache-2.0 AND MIT AND CC0-1.0 AND LicenseRef-erc-edge-small",
    license_files=["LICENSE", "models/*/LICENSE", "erc_ros/dialogue/assets/LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["py.typed"],
        f"{NAME}.dialogue": ["assets/*"],
        f"{NAME}.encoders": ["assets/*"],
        f"{NAME}.evaluation": ["templates/*"],
        f"{NAME}.live": ["*.html"],
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
        *tree("msg"),
        *(entry for entry in tree("interfaces") if entry[0].endswith("/msg")),
        (f"lib/{NAME}", [f"scripts/{name}" for name in COMMANDS]),
    ],
    # Ranges: requirements/ has the versions that are tested, the oldest and the newest.
    # Never add the interfaces' wheel here: on a ROS installation colcon builds them.
    install_requires=[
        "numpy>=1.21.5",
        "onnxruntime>=1.23.2",
        "opencv-python-headless>=4.5.4,<5",  # 5 has no Haar cascades
        "PyYAML>=5.4",
        "soxr>=0.5",
        "tokenizers>=0.21",
    ],
    # Ranges, so that the package can be installed together with others; requirements/lock.txt has
    # the versions that are tested.
    extras_require={
        # ROS 2 Kilted as wheels, for machines without a ROS installation (x86-64). ~= keeps to the
        # distribution.
        "ros": [
            "ros-rclpy[fastrtps]~=9.1.2",
            "ros-diagnostic-msgs~=5.5.1",
            "ros-lifecycle-msgs~=2.3.0",
            "ros-sensor-msgs~=5.5.1",
            "ros-std-msgs~=5.5.1",
            "ros-std-srvs~=5.5.1",
            "ros-visualization-msgs~=5.5.1",
        ],
        # There is no extra for CUDA: onnxruntime-gpu would be installed over onnxruntime, into the
        # same folder, and an extra cannot replace a dependency (docs/how-to/gpu.md).
        "engines": ["onnx>=1.17"],  # erc build-engines for TensorRT
        # TensorRT as wheels for x86-64; JetPack has its own.
        "tensorrt": ["onnx>=1.17", "tensorrt>=10.3; platform_machine == 'x86_64'"],
        "replay": ["matplotlib>=3.5", ROSBAGS, "tqdm>=4.60"],
        "media": ["av>=14", "matplotlib>=3.5", "tqdm>=4.60"],  # erc replay talk.mp4
        "live": ["av>=14", "sounddevice>=0.4.6"],  # erc live, erc sense: microphone and camera
        "whisper": ["faster-whisper>=1.1"],  # --recognizer faster-whisper:MODEL
        "whispercpp": ["pywhispercpp>=1.3"],  # --recognizer whisper.cpp:MODEL
        "vosk": ["vosk>=0.3.44"],  # --recognizer vosk:FOLDER
        "pocketsphinx": ["pocketsphinx>=5"],  # --recognizer pocketsphinx, for trials
        "demo": ["espeakng-loader>=0.2.4,<0.3"],
        "bench": [PYANNOTE, "scipy"],
        "evaluate": [  # erc evaluate-bag: annotations in, scores and a report out
            "av>=14",  # audio and images of the report, WAV and MP4 for ELAN
            "defusedxml>=0.7.1",
            "jinja2>=3.1",  # the report
            "krippendorff>=0.6",
            "matplotlib>=3.5",
            "praatio>=6.2,<7",  # TextGrid
            "pympi-ling>=1.70,<2",  # ELAN
            ROSBAGS,
            "tqdm>=4.60",
        ],
        "train": [
            "accelerate>=1.10",  # several GPUs
            "av>=14",  # the audio and images of MELD's clips
            "matplotlib>=3.5",
            "onnx>=1.17",
            "onnxscript",
            "pillow",  # transformers' image processors
            "safetensors",
            "scikit-learn",
            "soundfile",
            "tensorboardX>=2.6.2",
            "torch>=2.6",
            "tqdm>=4.60",
            "transformers>=5",
        ],
        "opensmile": ["opensmile>=2.5"],  # SUMMER's acoustics; its license is for research only
        "test": [
            "hypothesis>=6",
            "meeteval>=0.4.3,<0.5",  # compares the word error rates; a source package, needs g++
            "onnx>=1.17",
            "pocketsphinx>=5",  # speech recognition with a model in its wheel
            "py_trees>=2.3",  # runs an example
            PYANNOTE,  # compares the errors of speakers and emotions
            "pytest>=8",
            "pytest-cov>=6",
            "pytest-xdist>=3.6",  # `make test` uses two processes
            "pytest-rerunfailures>=16.1",  # for the marker `dds` alone: test/conftest.py
            "rosbags-image>=0.10.4,<0.11",
            "scipy",
            "selenium>=4.30",  # the report in a browser
            "soundfile",
        ],
        "mutants": ["mutmut>=3.8,<4"],  # make mutants
        "docs": ["mkdocs-material>=9.7", "mkdocstrings-python>=2"],
        # import-linter with all kinds of contracts of pyproject.toml needs Python 3.11.
        "lint": [
            "import-linter>=2.16; python_version >= '3.11'",
            "mypy>=2",
            "ruff",
            "types-PyYAML",
        ],
    },
)
