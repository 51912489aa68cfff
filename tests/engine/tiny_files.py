"""Tiny real models with tokenizers of a few words, written to a folder as any transformers user would."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "doctor", "said", "she", "was", "tired", "##s", "."]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
         "max_position_embeddings": 32}  # fmt: skip


def tokenizer(words: list[str] = WORDS) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer that knows these words."""
    piece = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    piece.normalizer = normalizers.BertNormalizer()
    piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    piece.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=piece, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )


def bert(**changes) -> BertForMaskedLM:
    """A masked LM of two layers with random weights, the same every time."""
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(vocab_size=len(WORDS), **SMALL | changes))


def save(folder: Path, model, words: list[str] | None = WORDS, **how) -> Path:
    """Write a model, and a tokenizer unless `words` is None."""
    model.save_pretrained(folder, **how)
    if words is not None:
        tokenizer(words).save_pretrained(folder)
    return folder
