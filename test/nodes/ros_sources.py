"""Python parts of ROS packages that have no wheel: installed ones, or their sources.

ERC_ROS_TOOLS names a folder with checkouts, as for `make launch-tests`. Nothing of them is copied.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import cv2
import pytest

PLACES = {
    "cv_bridge": "vision_opencv/cv_bridge/python",
    "message_filters": "message_filters/src",
}
REASON = "{name} is not installed, and ERC_ROS_TOOLS has no checkout with {place}"


def ros_module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of a ROS package; skips the test where neither package nor sources are there.

    Of cv_bridge's sources only the Python part is used: what its compiled part tells about
    encodings is answered by OpenCV here, and conversions between encodings are missing.
    """
    if importlib.util.find_spec(name) is None:
        folder = os.environ.get("ERC_ROS_TOOLS", "")
        place = Path(folder, PLACES[name])
        if not folder or not place.is_dir():
            pytest.skip(REASON.format(name=name, place=PLACES[name]))
        monkeypatch.syspath_prepend(str(place))
        if name == "cv_bridge":
            _add_compiled_part(monkeypatch)
    module = importlib.import_module(name)
    for each in [key for key in sys.modules if key.partition(".")[0] == name]:
        monkeypatch.setitem(sys.modules, each, sys.modules.pop(each))  # removed at the end
    return module


def without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the module fails as where it is not installed."""
    monkeypatch.setitem(sys.modules, name, None)


def _add_compiled_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def type_of(encoding: str) -> int:
        known = {"mono8": "8UC1", "mono16": "16UC1", "bgr8": "8UC3"}
        name = known.get(encoding, encoding)
        try:
            return int(getattr(cv2, f"CV_{name if 'C' in name else name + 'C1'}"))
        except AttributeError:
            raise RuntimeError(f"Unrecognized image encoding [{encoding}]") from None

    compiled = ModuleType("cv_bridge.boost.cv_bridge_boost")
    compiled.getCvType = type_of
    compiled.CV_MAT_CNWrap = lambda kind: (kind >> 3) + 1
    compiled.CV_MAT_DEPTHWrap = lambda kind: kind & 7
    compiled.cvtColorForDisplay = None
    package = ModuleType("cv_bridge.boost")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "cv_bridge.boost", package)
    monkeypatch.setitem(sys.modules, compiled.__name__, compiled)
