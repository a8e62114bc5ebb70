"""Everything that is measured, each with its command. See docs/results/index.md."""

import os

import erc_ros  # noqa: F401  before onnxruntime: it disables that library's telemetry

# As the nodes and the commands have it. Beside ONNX Runtime, OpenBLAS's own threads win nothing,
# and they wait for work by spinning: half of the processor time of a day of conversation.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
