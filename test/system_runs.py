"""A run of a system with random weights, as written by `erc train config/systems/X.yaml`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny_models
import yaml

from erc_ros.training.datasets import corpora
from erc_ros.training.encoders.audio.pretrained import SpeechEncoder, SpeechEncoderConfig
from erc_ros.training.encoders.text.pretrained import PretrainedTextEncoder, TextEncoderConfig
from erc_ros.training.encoders.visual.pretrained import VideoEncoder, VideoEncoderConfig
from erc_ros.training.features.encode import encode_split
from erc_ros.training.heads.registry import make_head
from erc_ros.training.onnx import export_fusion

STAGES = {"text": "text", "audio": "audio_kd", "visual": "visual"}


def write_system_run(
    run: Path,
    data: Path,
    corpus: str,
    head: str = "magtkd",
    text: str = "roberta",
    side: int = 32,
    kind: str = "",
) -> Path:
    """Write untrained encoders and a fusion model, with their features of dev and test."""
    labels = corpora.read(corpus, data, "dev").labels
    recipe = {"kind": kind or head, "system": {"corpus": corpus, "seeds": [1]}}
    recipe["stages"] = {name: {} for name in (*STAGES.values(), "fusion")}
    (run / "stages").mkdir(parents=True)
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    models = run.parent / "models"
    config = TextEncoderConfig(str(getattr(tiny_models, text)(models / text)), max_tokens=60)
    encoders = {
        "text": PretrainedTextEncoder(config),
        "audio": SpeechEncoder(
            SpeechEncoderConfig(
                str(tiny_models.speech(models / "speech", "Data2VecAudio")), max_seconds=2.0
            )
        ),
        "visual": VideoEncoder(
            VideoEncoderConfig(str(tiny_models.video(models / "video", "Timesformer", side=side)))
        ),
    }
    for modality, encoder in encoders.items():
        seed = run / "stages" / STAGES[modality] / "seed-1"
        seed.mkdir(parents=True)
        encoder.save(seed / "encoder")
        options = {name: getattr(encoder.config, name) for name in OPTIONS[modality]}
        reading = {"modality": modality, "options": options, "labels": list(labels)}
        write(seed / "reading.json", reading)
        write(seed / "metrics.json", {"seed": 1, "dev": 0.2, "test": {"weighted_f1": 0.2}})
        for split in ("dev", "test"):
            read = corpora.read(corpus, data, split)
            encode_split(corpus, read, encoder, seed / "features" / split)
    best = run / "stages" / "fusion" / "best"
    best.mkdir(parents=True)
    sizes = tuple(encoder.dimension for encoder in encoders.values())
    model = make_head(head, {"width": 24, "embeddings": sizes, "labels": len(labels)})
    content = {"seed": 1, "reads": STAGES, "dev": 0.2, "test": {"weighted_f1": 0.2}}
    content["settings"] = {"row": {"head": head}}  # as `comparison.train` writes it
    content["onnx_difference"] = export_fusion(model, best / "fusion.onnx")
    write(best / "metrics.json", content)
    return run


OPTIONS = {
    "text": ("prompt", "history", "speakers", "reading", "unit_length", "max_tokens"),
    "audio": ("reading", "max_seconds"),
    "visual": ("reading",),
}


def write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content))


def change(file: Path, **values: Any) -> None:
    """Change values in a JSON file."""
    write(file, {**json.loads(file.read_text()), **values})
