"""A GPT-2 whose heads are written by hand: one looks at the previous token, one at a copy, one induces, one counts on."""

from __future__ import annotations

import re

import torch
import transformers as tr
from tokenizers import Tokenizer, models, pre_tokenizers

from atlas.engine.loading.quiet_libraries import quiet_transformers
from atlas.text.ordinals import KINDS, NAMES, SECRETS, SERIES, THINGS

COUNTED = ("days", "months")
"""Lists of which the vocabulary has words."""

WORDS = [
    "[PAD]", "[UNK]", *dict.fromkeys([
        *NAMES, *THINGS, *KINDS, *SECRETS, *(word for name in COUNTED for word in SERIES[name]),
        *re.findall(r"\w+|[^\w\s]", "The secret words of are What the is near . ?"),
    ]),
]  # fmt: skip

PLACES, SHARP = 96, 0.5
"""Positions; how sharply heads look: a match weighs e to the power of some 20 of what does not match."""

PREVIOUS, DUPLICATE, SUCCESSOR, INDUCTION = (0, 0), (0, 1), (1, 0), (1, 1)
"""Layer and head."""


def tokenizer():
    """Whole words."""
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return tr.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")


def model(previous: float = 1.0):
    """The model; `previous` scales how sharply its previous-token head looks, from 0: at all tokens alike.

    The stream holds, one-hot, the token, its place and the token before.
    """
    words, width = len(WORDS), 2 * (len(WORDS) + PLACES)
    token, place, before = 0, words, words + PLACES
    head = width // 2
    config = tr.GPT2Config(
        vocab_size=words, n_positions=PLACES, n_embd=width, n_layer=2, n_head=2, n_inner=8, bos_token_id=None, eos_token_id=None
    )
    torch.manual_seed(0)
    with quiet_transformers():
        made = tr.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        made.transformer.wte.weight.zero_()
        made.transformer.wpe.weight.zero_()
        made.transformer.wte.weight[:, :words] = torch.eye(words)
        made.transformer.wpe.weight[:, place : place + PLACES] = torch.eye(PLACES)
        for layer in made.transformer.h:
            for part in (layer.attn.c_attn, layer.attn.c_proj, layer.mlp.c_fc, layer.mlp.c_proj):
                part.weight.zero_()
                part.bias.zero_()

        def reads(which, part, start, size, into, sign=1.0):
            """A head's q, k or v (0, 1, 2) has a stretch of the stream from `into` on."""
            layer, number = which
            at = part * width + number * head + into
            made.transformer.h[layer].attn.c_attn.weight[start : start + size, at : at + size] = sign * torch.eye(size)

        def writes(which, table, scale):
            layer, number = which
            for source, target in table:
                made.transformer.h[layer].attn.c_proj.weight[number * head + source, target] = scale

        reads(PREVIOUS, 0, place, PLACES, 0, previous * SHARP)
        reads(PREVIOUS, 1, place, PLACES - 1, 1)  # the key of place j is the query of place j + 1
        reads(PREVIOUS, 2, token, words, 0)
        writes(PREVIOUS, [(at, before + at) for at in range(words)], 1.0)
        for part, sign in ((0, SHARP), (1, 1.0)):  # the same token in another place
            reads(DUPLICATE, part, token, words, 0, sign)
            reads(DUPLICATE, part, place, PLACES, words, SHARP if part == 0 else -1.0)
        reads(INDUCTION, 0, token, words, 0, 4 * SHARP)
        reads(INDUCTION, 1, before, words, 0)
        reads(INDUCTION, 2, token, words, 0)
        reads(SUCCESSOR, 2, token, words, 0)
        follows = [
            (WORDS.index(word), WORDS.index(after))
            for name in COUNTED
            for word, after in zip(SERIES[name], SERIES[name][1:], strict=False)
        ]
        writes(SUCCESSOR, follows, 1.0)
    return made
