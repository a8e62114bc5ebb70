"""`erc export RUN`: export a finished run's best checkpoint as ONNX, and compare it with torch.

With `--bundle DIR`: the whole bundle of a system's run (`system_bundle`), or one row of a
comparison on stored features with the encoders of the features. For a seed of an encoder's stage
(RUN/stages/text/seed-0): this encoder.

recipe.yaml in the run's folder determines the network, best/metrics.json the selected seed.
Trainings write the same file when they end; this command writes it again from the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import safe_open

from erc_ros.training import onnx
from erc_ros.training.engine.recipe import KEPT, Recipe, RecipeError, read_kept
from erc_ros.training.engine.runs import BEST, METRICS, READING, RunError, read_json
from erc_ros.training.engine.trainer import WEIGHTS, load_weights


def export_text(recipe: Recipe, weights: Path, file: Path) -> float:
    """Export the text encoder."""
    from erc_ros.training.encoders.text.examples import TextConfig
    from erc_ros.training.encoders.text.export import export
    from erc_ros.training.encoders.text.model import make_model

    config = recipe.section("text", TextConfig)
    model = make_model(config.dropout, config.reading, config.corpora_of_classifier)
    load_weights(model, weights)
    return export(model.encoder, file)


def export_face(recipe: Recipe, weights: Path, file: Path) -> float:
    """Export the face network."""
    from erc_ros.encoders.face import SIZE
    from erc_ros.training.encoders.visual.model import FaceNetwork, FaceNetworkConfig

    model = FaceNetwork(recipe.section("network", FaceNetworkConfig))
    load_weights(model, weights)
    return onnx.export_face(model, file, SIZE)


def export_fusion(recipe: Recipe, weights: Path, file: Path) -> float:
    """Export the late fusion. The input sizes are those of the encoders."""
    from erc_ros.training.datasets.utterances import LABELS
    from erc_ros.training.heads.late_fusion import LateFusion, LateFusionConfig
    from erc_ros.training.systems.edge import FusionConfig

    encoders = recipe.section("fusion", FusionConfig)
    embeddings = (
        _size(Path(encoders.text), "test.embedding"),
        _size(Path(encoders.audio), "test.embeddings"),
        _size(Path(encoders.visual), "test.embeddings"),
    )
    model = LateFusion(LateFusionConfig(embeddings=embeddings, labels=len(LABELS)))
    load_weights(model, weights)
    return onnx.export_fusion(model, file)


def _size(encoder: Path, name: str) -> int:
    with safe_open(encoder / "embeddings.safetensors", "np") as arrays:
        return int(arrays.get_slice(name).get_shape()[1])


def _export_stage(seed: Path, file: Path) -> float:
    from erc_ros.training.export.encoders import export_encoder
    from erc_ros.training.systems.encoders import saved_encoder

    try:
        return export_encoder(saved_encoder(seed), file)
    except TypeError as error:
        raise RecipeError(f"{seed}: {error}") from error


EXPORTS: dict[str, Callable[[Recipe, Path, Path], float]] = {
    "text": export_text,
    "face": export_face,
    "fusion": export_fusion,
}
"""Kind of recipe -> (recipe, weights of the best seed, file to write) -> difference from torch."""


def export(run: Path, file: Path | None = None) -> tuple[Path, float]:
    """Write the best checkpoint of a run; default RUN/best/KIND.onnx.

    For a seed of an encoder's stage, write this encoder; default RUN/encoder.onnx.

    Returns:
        The file, and its largest difference from torch on examples.

    Raises:
        RecipeError: the run is of another kind or not finished, or its weights do not fit.
        FileNotFoundError: a checkpoint, or an encoder that it needs, is missing.
        ArithmeticError, ValueError: the file differs from torch by more than 1e-4.
    """
    if (run / READING).is_file():
        file = file or run / "encoder.onnx"
        return file, _export_stage(run, file)
    recipe = read_kept(run)
    if recipe.kind == "stored":
        raise RecipeError(f"{run} is a comparison: export a row of it with --bundle DIR --row NAME")
    if recipe.kind not in EXPORTS:
        raise RecipeError(f"{run} is a run of kind {recipe.kind!r}; must be one of {list(EXPORTS)}")
    choice = run / BEST / METRICS
    if not choice.is_file():
        raise RecipeError(f"{choice} is missing: finish the training, which selects the best seed")
    file = file or run / "best" / f"{recipe.kind}.onnx"
    try:
        weights = run / f"seed-{read_json(choice)['seed']}" / WEIGHTS
        return file, EXPORTS[recipe.kind](recipe, weights, file)
    except (KeyError, TypeError, RunError) as error:
        raise RecipeError(f"{choice} does not say which seed was chosen: {error!r}") from error
    except RuntimeError as error:  # weights of other sizes
        raise RecipeError(
            f"the weights in {run} are of another recipe than {KEPT}: {error}"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 if the export failed or differs from torch."""
    parser = argparse.ArgumentParser(
        prog="erc export", description="ONNX file of a run's chosen checkpoint, checked with torch."
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a finished training, or of a stage's seed"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default RUN/best/KIND.onnx; of a stage's seed RUN/encoder.onnx",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="folder of the model package to write, from the run of a system or a comparison",
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $ERC_DATA")
    parser.add_argument(
        "--name", default="", help="name of the model package; default: system, corpus and row"
    )
    parser.add_argument("--version", default="1.0.0", help="version of the bundle")
    parser.add_argument(
        "--context", type=int, default=16, help="number of utterances of the fusion model's input"
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=("audio", "visual"),
        help="modality to omit",
    )  # fmt: skip
    parser.add_argument(
        "--row", default="", help="of the fusion stage (default: its first) or of the comparison"
    )
    parser.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="LABEL=VALENCE,AROUSAL",
        help="of a label whose valence and arousal are not known; both from -1 to 1",
    )
    options = parser.parse_args(argv)
    try:
        if options.bundle is not None:
            _export_bundle(options)
            return 0
        file, difference = export(options.run, options.out)
    except (ValueError, ArithmeticError, OSError) as error:
        print(f"erc export: {error}", file=sys.stderr)
        return 1
    print(f"{file}: differs from torch by {difference:.1e}")
    return 0


def _anchor(text: str) -> tuple[str, tuple[float, float]]:
    label, equals, pair = text.rpartition("=")
    try:
        valence, arousal = (float(number) for number in pair.split(","))
    except ValueError:
        equals = ""
    if not (label and equals):
        raise ValueError(f"--anchor {text!r} must be LABEL=VALENCE,AROUSAL, such as joy=0.8,0.5")
    return label, (valence, arousal)


def _export_bundle(options: argparse.Namespace) -> None:
    from erc_ros.training.datasets.folder import data_folder
    from erc_ros.training.export.system_bundle import export_bundle

    system = None
    if read_kept(options.run).kind == "stored":
        from erc_ros.training.export.stored_bundle import read_stored

        system = read_stored(options.run, options.without, options.row)
    bundle, differences = export_bundle(
        options.run,
        options.bundle,
        data_folder(options.data),
        name=options.name,
        version=options.version,
        context=options.context,
        without=options.without,
        row=options.row,
        anchors=dict(_anchor(text) for text in options.anchor),
        system=system,
    )
    for name, difference in differences.items():
        print(f"{bundle.parts[name].file}: differs from torch by {difference:.1e}")
    f1 = bundle.metrics["test_weighted_f1"]
    scores = ", ".join(f"{name} {value:.4f}" for name, value in f1.items())
    print(f"{bundle.folder}: {bundle.name} {bundle.version}; weighted F1 on test: {scores}")
    if note := bundle.training.get("note"):
        print(f"note: {note}")
