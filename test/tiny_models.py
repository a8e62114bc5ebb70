"""Tiny Hugging Face models with random weights, saved like those of a user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

WORDS = ["now", "feels", "speaker", "someone", "good", "bad", "day", "what", "a", "the"]
WORDS += ["is", "raising", "one", "eyebrow"]
CONVOLUTIONS = {
    "conv_dim": (16, 16),
    "conv_kernel": (20, 20),
    "conv_stride": (10, 16),
    "num_feat_extract_layers": 2,
}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def bert(folder: Path) -> Path:
    """Save a BERT with WordPiece and 64 positions."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.<>")
    vocabulary = special + WORDS + letters + [f"##{letter}" for letter in letters]
    tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=64, **SMALL
    )
    _save(transformers.BertModel, config, folder)
    names = ("pad", "unk", "cls", "sep", "mask")
    return _save_tokenizer(tokenizer, folder, dict(zip(names, special, strict=True)))


def roberta(folder: Path) -> Path:
    """Save a RoBERTa with byte-level BPE for 64 tokens; positions begin after that of padding."""
    names = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    tokenizer = byte_level([*names.values()])
    config = transformers.RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=66,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        **SMALL,
    )
    _save(transformers.RobertaModel, config, folder)
    return _save_tokenizer(tokenizer, folder, names | {"cls": "<s>", "sep": "</s>"})


def deberta(folder: Path) -> Path:
    """Save a DeBERTa (version 2) with byte-level BPE, relative positions and 64 tokens."""
    names = {"bos": "[CLS]", "pad": "[PAD]", "eos": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"}
    tokenizer = byte_level([*names.values()])
    config = transformers.DebertaV2Config(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=64,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        pad_token_id=1,
        **SMALL,
    )
    _save(transformers.DebertaV2Model, config, folder)
    return _save_tokenizer(tokenizer, folder, names | {"cls": "[CLS]", "sep": "[SEP]"})


def byte_level(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    return tokenizer


def speech(folder: Path, kind: str, normalisation: str = "layer") -> Path:
    """Save a Wav2Vec2, WavLM or Data2VecAudio; only the group norm depends on padding."""
    config = getattr(transformers, f"{kind}Config")(
        **SMALL,
        **CONVOLUTIONS,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        **({} if kind == "Data2VecAudio" else {"feat_extract_norm": normalisation}),
        **({"conv_pos_kernel_size": 5} if kind == "Data2VecAudio" else {}),
        do_stable_layer_norm=normalisation == "layer",
    )
    _save(getattr(transformers, f"{kind}Model"), config, folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(
        sampling_rate=16_000, do_normalize=True, return_attention_mask=True
    )
    extractor.save_pretrained(folder)
    return folder


def video(folder: Path, kind: str, frames: int = 8, side: int = 32) -> Path:
    """Save a Timesformer or VideoMAE for square images."""
    config = getattr(transformers, f"{kind}Config")(
        **SMALL, image_size=side, patch_size=16, num_frames=frames
    )
    _save(getattr(transformers, f"{kind}Model"), config, folder)
    processor = transformers.VideoMAEImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    processor.save_pretrained(folder)
    return folder


def image(folder: Path, kind: str, side: int = 32, classes: int = 10) -> Path:
    """ViT or ResNet with a classifier, on square images."""
    if kind == "ViT":
        config = transformers.ViTConfig(**SMALL, image_size=side, patch_size=16, num_labels=classes)
        size = {"height": side, "width": side}
        transformers.ViTImageProcessorPil(size=size).save_pretrained(folder)
    else:
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], num_labels=classes
        )
        size = {"shortest_edge": side}
        transformers.ConvNextImageProcessorPil(size=size).save_pretrained(folder)
    _save(getattr(transformers, f"{kind}ForImageClassification"), config, folder)
    return folder


def vision_language(folder: Path) -> Path:
    """Save a LLaVA of a CLIP encoder and a Llama model, with a chat template."""
    tokenizer = byte_level(["<s>", "</s>", "<pad>", "<unk>", "<image>"])
    size = tokenizer.get_vocab_size()
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            **SMALL, image_size=32, patch_size=16, projection_dim=16
        ),
        text_config=transformers.LlamaConfig(
            **SMALL, vocab_size=size, num_key_value_heads=2, pad_token_id=2, eos_token_id=1
        ),
        image_token_index=tokenizer.token_to_id("<image>"),
    )
    _save(transformers.LlavaForConditionalGeneration, config, folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    template = (
        "{% for message in messages %}{% for part in message.content %}"
        "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}{% endfor %}"
    )
    eye = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    transformers.LlavaProcessor(
        eye,
        fast,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def _save(model: Any, config: Any, folder: Path) -> None:
    torch.manual_seed(0)
    model(config).save_pretrained(folder)


def _save_tokenizer(tokenizer: Tokenizer, folder: Path, names: dict[str, str]) -> Path:
    tokens = {f"{name}_token": token for name, token in names.items()}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens).save_pretrained(folder)
    return folder
