"""Benchmarks, one command each; see docs/results/index.md."""

import os

import erc_ros  # noqa: F401  before onnxruntime: it disables that library's telemetry

# As in the nodes and commands: the threads of OpenBLAS give no speed-up together with ONNX Runtime,
# and their busy-waiting used half of the CPU time of a day of conversation.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
