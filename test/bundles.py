"""A tiny bundle with random weights: real ONNX files and a real tokenizer, created in milliseconds.

Its estimates are random, but use the whole path; sizes and names are those of the default bundle.
"""

from __future__ import annotations

import string
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from erc_ros.dialogue.speakers.embedding import load_manifest
from erc_ros.encoders.text import PROMPT_VERSION, SPEAKER_TOKENS, add_speaker_tokens
from erc_ros.resources import model_folder
from erc_ros.training.manifest import write_manifest

TEXT, AUDIO, VISUAL, MEL, SIZE = 384, 128, 128, 64, 48
ANCHORS = {
    "neutral": [0.0, 0.0],
    "surprise": [0.2, 0.8],
    "fear": [-0.6, 0.7],
    "sadness": [-0.7, -0.4],
    "joy": [0.8, 0.5],
    "disgust": [-0.7, 0.3],
    "anger": [-0.6, 0.8],
}

# One layer without weights: each token's word and place, then the mean over what it sees, by way of
# keys and values as a real encoder hands them on. The embedding is read at [MASK].
TEXT_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
text (int64[B, L] input_ids, int64[B, L] positions, bool[B, L, PL] visible,
      int64[B, A] mask_index, float[1, 2, B, 12, P, 32] past)
  => (float[B, A, 384] embedding, float[1, 2, B, 12, L, 32] present)
  <int64[1] first = {0}, int64[1] two = {2}, int64[2] both = {0, 1},
   int64[4] split = {0, 0, 12, 32}, int64[3] joined = {0, 0, 384},
   int64[6] twice = {1, 2, 1, 1, 1, 1}, int64[3] wide = {1, 1, 384}>
{
  words = Gather <axis = 0> (table, input_ids)
  places = Gather <axis = 0> (place, positions)
  tokens = Add (words, places)
  heads = Reshape (tokens, split)
  rows = Transpose <perm = [0, 2, 1, 3]> (heads)
  six = Unsqueeze (rows, both)
  present = Expand (six, twice)
  all = Concat <axis = 4> (past, present)
  stack = Squeeze (all, first)
  values = Gather <axis = 0> (stack, index)
  seen = Cast <to = 1> (visible)
  count = ReduceSum <keepdims = 1> (seen, two)
  share = Div (seen, count)
  share4 = Unsqueeze (share, one)
  mean = MatMul (share4, values)
  back = Transpose <perm = [0, 2, 1, 3]> (mean)
  flat = Reshape (back, joined)
  sum = Add (flat, tokens)
  where = Unsqueeze (mask_index, two)
  spread = Expand (where, wide)
  embedding = GatherElements <axis = 1> (sum, spread)
}
"""

# The mean over the valid frames, projected.
AUDIO_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
audio (float[B, T, 64] features, int64[B] frames) => (float[B, 128] embedding)
  <int64 zero = {0}, int64 step = {1}, int64[1] one = {1}, int64[1] two = {2}>
{
  shape = Shape <start = 1, end = 2> (features)
  length = Squeeze (shape)
  times = Range (zero, length, step)
  limit = Unsqueeze (frames, one)
  valid = Less (times, limit)
  seen = Cast <to = 1> (valid)
  seen3 = Unsqueeze (seen, two)
  kept = Mul (features, seen3)
  sum = ReduceSum <keepdims = 0> (kept, one)
  count = ReduceSum <keepdims = 1> (seen, one)
  mean = Div (sum, count)
  embedding = MatMul (mean, project)
}
"""

FACE_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
face (float[N, 1, 48, 48] faces) => (float[N, 128] embedding)
{
  small = AveragePool <kernel_shape = [8, 8], strides = [8, 8]> (faces)
  flat = Flatten <axis = 1> (small)
  embedding = MatMul (flat, project)
}
"""

# A running sum over the valid utterances (causal), projected; equal weights of the modalities.
FUSION_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
fusion (float[B, U, 384] text, float[B, U, 128] audio, float[B, U, 128] visual,
        bool[B, U, 3] modalities, int64[B, U] speakers, bool[B, U] valid)
  => (float[B, U, 7] logits, float[B, U, 3] weights)
  <int64 axis = {1}, int64[1] two = {2}, int64[3] ones = {1, 1, 1}, float least = {1.0}>
{
  seen = Cast <to = 1> (modalities)
  ts, as, vs = Split <axis = 2> (seen, ones)
  t = Mul (text, ts)
  a = Mul (audio, as)
  v = Mul (visual, vs)
  all = Concat <axis = 2> (t, a, v)
  own = MatMul (all, project)
  who = Gather <axis = 0> (table, speakers)
  both = Add (own, who)
  real = Cast <to = 1> (valid)
  real3 = Unsqueeze (real, two)
  kept = Mul (both, real3)
  logits = CumSum (kept, axis)
  count = ReduceSum <keepdims = 1> (seen, two)
  divisor = Max (count, least)
  weights = Div (seen, divisor)
}
"""


# The row of a token, read at the mask; the attention mask takes part.
PROMPT_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
text (int64[B, L] input_ids, int64[B, L] attention_mask, int64[B] mask_index)
  => (float[B, 24] embedding)
  <int64[1] one = {1}, int64[1] two = {2}, int64[3] wide = {1, 1, 24}>
{
  tokens = Gather <axis = 0> (table, input_ids)
  seen = Cast <to = 1> (attention_mask)
  seen3 = Unsqueeze (seen, two)
  kept = Mul (tokens, seen3)
  mean = ReduceMean <axes = [1], keepdims = 1> (kept)
  sum = Add (tokens, mean)
  column = Unsqueeze (mask_index, one)
  where = Unsqueeze (column, two)
  spread = Expand (where, wide)
  row = GatherElements <axis = 1> (sum, spread)
  embedding = Squeeze (row, one)
}
"""

MEAN_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
text (int64[B, L] input_ids, int64[B, L] attention_mask) => (float[B, 24] embedding)
  <int64[1] two = {2}>
{
  tokens = Gather <axis = 0> (table, input_ids)
  seen = Cast <to = 1> (attention_mask)
  seen3 = Unsqueeze (seen, two)
  kept = Mul (tokens, seen3)
  embedding = ReduceMean <axes = [1], keepdims = 0> (kept)
}
"""

# Loudness, and the part above the mean.
WAVEFORM_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
audio (float[B, n] waveform) => (float[B, 24] embedding)
{
  square = Mul (waveform, waveform)
  power = ReduceMean <axes = [1], keepdims = 1> (square)
  above = Relu (waveform)
  mean = ReduceMean <axes = [1], keepdims = 1> (above)
  both = Concat <axis = 1> (power, mean)
  embedding = MatMul (both, project)
}
"""

# The voice and the sum of earlier ones, projected.
VOICE_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
audio (float[B, 192] voice, float[B, 4, 192] heard, bool[B, 4] is_heard) => (float[B, 24] embedding)
  <int64[1] one = {1}, int64[1] two = {2}>
{
  seen = Cast <to = 1> (is_heard)
  seen3 = Unsqueeze (seen, two)
  kept = Mul (heard, seen3)
  sum = ReduceSum <keepdims = 0> (kept, one)
  both = Add (voice, sum)
  embedding = MatMul (both, project)
}
"""

# The mean of every frame and channel, projected.
CLIP_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
face (float[B, 4, 3, 112, 112] clip) => (float[B, 24] embedding)
{
  mean = ReduceMean <axes = [3, 4], keepdims = 0> (clip)
  flat = Flatten <axis = 1> (mean)
  embedding = MatMul (flat, project)
}
"""

TEXT_FUSION_GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
fusion (float[B, U, 384] text, bool[B, U, 3] modalities)
  => (float[B, U, 7] logits, float[B, U, 3] weights)
  <int64 axis = {1}>
{
  weights = Cast <to = 1> (modalities)
  own = MatMul (text, project)
  logits = CumSum (own, axis)
}
"""


def write_tiny_bundle(folder: Path, seed: int = 0) -> Path:
    """Write a bundle with random weights to `folder` and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    _save(
        folder / "text.onnx",
        TEXT_GRAPH,
        table=_random(rng, tokenizer.get_vocab_size(), TEXT),
        place=_random(rng, 96, TEXT),
        index=np.array(1),
        one=np.array([1]),
    )
    _save(folder / "audio.onnx", AUDIO_GRAPH, project=_random(rng, MEL, AUDIO))
    _save(folder / "face.onnx", FACE_GRAPH, project=_random(rng, 36, VISUAL))
    _save(
        folder / "fusion.onnx",
        FUSION_GRAPH,
        project=_random(rng, TEXT + AUDIO + VISUAL, 7) * 0.1,
        table=_random(rng, 10, 7) * 0.1,
    )
    write_manifest(folder, tiny_manifest())
    return folder


@dataclass(frozen=True)
class Kinds:
    """Which kinds of parts a bundle has; "" where the part is missing.

    text: "cached" or a prompt of `encoders.text.PROMPTS`. tokens: "bert" or "roberta".
    """

    text: str = "cached"
    audio: str = "log-mel"
    visual: str = "crops"
    tokens: str = "bert"


HEARD = 4  # utterances before, of a voice part
WIDTH, FRAMES, CLIP = 24, 4, 112  # of the encoders that are no cached text, log-mel or crops


def write_tiny_bundle_3(folder: Path, kinds: Kinds = Kinds(), seed: int = 0) -> Path:
    """Write a bundle of these kinds with random weights to `folder` and return the folder."""
    write_tiny_bundle(folder, seed)
    manifest = tiny_manifest()
    rng = np.random.default_rng(seed)
    is_bert = kinds.tokens == "bert"
    tokenizer = tiny_tokenizer() if is_bert else tiny_byte_level()
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = ("[CLS]", "[SEP]", "[MASK]") if is_bert else ("<s>", "</s>", "<mask>")
    names = dict(zip(("start", "separator", "mask"), roles, strict=True))
    tokens = {"file": "tokenizer.json", **names, "speakers": list(SPEAKER_TOKENS)}
    size, vocabulary = {"precision": "float32"}, tokenizer.get_vocab_size()
    manifest["text"]["tokenizer"] = tokens
    if kinds.text == "cached":
        table = _random(rng, vocabulary, TEXT)
        place, index = _random(rng, 96, TEXT), np.array(1)
        _save(folder / "text.onnx", TEXT_GRAPH, table=table, place=place, index=index, one=[1])
    else:
        graph = PROMPT_GRAPH if kinds.text != "plain" else MEAN_GRAPH
        _save(folder / "text.onnx", graph, table=_random(rng, vocabulary, WIDTH))
        manifest["text"] = size | {
            "kind": "prompt", "file": "text.onnx", "tokenizer": tokens, "embedding": WIDTH,
            "max_tokens": 64, "prompt": kinds.text, "prompt_version": PROMPT_VERSION, "history": 3,
        }  # fmt: skip
    if kinds.audio == "waveform":
        _save(folder / "audio.onnx", WAVEFORM_GRAPH, project=_random(rng, 2, WIDTH))
        manifest["audio"] = size | {
            "kind": "waveform", "file": "audio.onnx", "embedding": WIDTH, "max_seconds": 4.0,
            "normalise": True,
        }  # fmt: skip
    if kinds.audio == "voice":  # on the speaker network that is shipped
        speakers = load_manifest(model_folder("speaker-campplus"))
        _save(folder / "audio.onnx", VOICE_GRAPH, project=_random(rng, speakers.size, WIDTH))
        manifest["audio"] = size | {
            "kind": "voice", "file": "audio.onnx", "embedding": WIDTH, "max_seconds": 4.0,
            "features": speakers.size, "heard": HEARD, "speaker_network": "speaker-campplus",
            "speaker_sha256": speakers.sha256,
        }  # fmt: skip
    if kinds.visual == "clip":
        _save(folder / "face.onnx", CLIP_GRAPH, project=_random(rng, FRAMES * 3, WIDTH))
        manifest["visual"] = size | {
            "kind": "clip", "file": "face.onnx", "embedding": WIDTH, "size": CLIP,
            "frames": FRAMES, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3],
        }  # fmt: skip
    for name, file in (("audio", "audio.onnx"), ("visual", "face.onnx")):
        if not getattr(kinds, name):
            del manifest[name]
            (folder / file).unlink()
    _save_fusion(folder / "fusion.onnx", manifest, rng)
    write_manifest(folder, manifest)
    return folder


def _save_fusion(file: Path, manifest: dict[str, Any], rng: np.random.Generator) -> None:
    """Write a fusion network that sums its inputs; one of text only has no speakers and `valid`."""
    sizes = {m: manifest[m]["embedding"] for m in ("text", "audio", "visual") if m in manifest}
    if len(sizes) == 1:
        _save(file, TEXT_FUSION_GRAPH.replace("384", str(sizes["text"])),
              project=_random(rng, sizes["text"], 7) * 0.1)  # fmt: skip
        return
    graph = FUSION_GRAPH
    for name, old in (("text", 384), ("audio", 128), ("visual", 128)):
        graph = graph.replace(
            f"float[B, U, {old}] {name}", f"float[B, U, {sizes.get(name, 5)}] {name}"
        )
    project = _random(rng, sum(sizes.get(m, 5) for m in ("text", "audio", "visual")), 7) * 0.1
    _save(file, graph, project=project, table=_random(rng, 10, 7) * 0.1)


def tiny_manifest() -> dict[str, Any]:
    """Return the manifest of the tiny bundle without `files`."""
    return {
        "format": 3,
        "name": "tiny",
        "version": "0.0.1",
        "labels": list(ANCHORS),
        "anchors": {label: list(pair) for label, pair in ANCHORS.items()},
        "text": {
            "kind": "cached",
            "file": "text.onnx",
            "tokenizer": {
                "file": "tokenizer.json",
                "start": "[CLS]",
                "separator": "[SEP]",
                "mask": "[MASK]",
                "speakers": list(SPEAKER_TOKENS),
            },
            "embedding": TEXT,
            "max_tokens": 96,
            "layers": 1,
            "heads": 12,
            "precision": "float32",
        },
        "audio": {
            "kind": "log-mel",
            "file": "audio.onnx",
            "mel_bands": MEL,
            "max_seconds": 6.0,
            "embedding": AUDIO,
            "precision": "float32",
        },
        "visual": {
            "kind": "crops",
            "file": "face.onnx",
            "size": SIZE,
            "max_crops": 8,
            "embedding": VISUAL,
            "precision": "float32",
        },
        "fusion": {"file": "fusion.onnx", "context": 16, "causal": True, "precision": "float32"},
        "calibration": {"temperature": 1.5},
        "training": {"data": ["noise"], "licence": "none: random weights"},
        "metrics": {},
    }


def tiny_tokenizer() -> Tokenizer:
    """Return a tokenizer of letters with the special tokens of BERT and the speaker tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list(string.ascii_lowercase + string.digits + string.punctuation)
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), "now", "feels"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    return add_speaker_tokens(tokenizer)


def tiny_byte_level() -> Tokenizer:
    """Return a tokenizer of bytes with the special tokens of RoBERTa and the speaker tokens."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(special)
    return add_speaker_tokens(tokenizer)


def _random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _save(file: Path, graph: str, **weights: Any) -> None:
    model = parser.parse_model(graph)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(array), name) for name, array in weights.items()
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


if __name__ == "__main__":
    print(write_tiny_bundle(Path(tempfile.gettempdir()) / "tiny-bundle"))
