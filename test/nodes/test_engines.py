"""emotion_node builds TensorRT engines while ONNX Runtime is in use; TensorRT is a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from node_bench import Bench
from stand_in_tensorrt import engines, stand_in_driver, tensorrt

__all__ = ["engines", "stand_in_driver", "tensorrt"]
PARTS = ("text", "audio", "visual", "fusion")


def test_the_node_answers_while_engines_are_built_and_then_uses_them(
    make_bench: Callable[..., Bench], tensorrt: None, engines: Path
) -> None:
    bench = make_bench()
    bench.say("what is it?")
    bench.wait(
        lambda: bench.value("emotion_node: engines", "state") == "done",
        "the engines are built",
        patience=60.0,  # by a process of its own
    )
    assert all(
        " ms against " in bench.value("emotion_node: engines", f"result_{part}") for part in PARTS
    )
    bench.wait(
        lambda: (
            {bench.value("emotion_node: bundle", f"device_{part}") for part in PARTS}
            == {"tensorrt"}
        ),
        "the networks run on them",
    )
    assert sum(bench.say("fine.").probabilities) > 0.99


def test_no_engines_are_built_where_that_is_switched_off(
    make_bench: Callable[..., Bench], tensorrt: None, engines: Path
) -> None:
    bench = make_bench(parameters={"build_engines": False})
    bench.wait(lambda: bench.value("emotion_node: bundle", "device_text"), "a diagnosis")
    assert "emotion_node: engines" not in bench.diagnoses and not engines.exists()
