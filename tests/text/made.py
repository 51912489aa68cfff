"""Small tokenizers of every convention, trained on a few lines, and the table each makes of a text."""

from __future__ import annotations

import functools

import pytest
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from atlas.text.align import token_table
from tests.places import SHARED_DATA

LINES = [
    "the cat sat on the mat and the dog sat on the log",
    "don't stop me now, said the cat, don't you dare",
    "hello world, hello again: naïve café, l’été",
    "שלום עולם hello עולם",
    "我爱北京 我爱你 hello",
    "नमस्ते दुनिया नमस्ते",
    "สวัสดีชาวโลก สวัสดี",
    "👩‍👩‍👧 is 🇵🇹 and 👍🏽 too",
]


def _bert_like(made, cls="[CLS]", sep="[SEP]"):
    made.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, made.token_to_id(cls)), (sep, made.token_to_id(sep))],
    )
    return made


def wordpiece():
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=220, special_tokens=special, show_progress=False))
    return _bert_like(made)


def byte_level(*, trim_offsets=False, add_prefix_space=False):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        LINES,
        trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False),
    )
    made.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    made.decoder = decoders.ByteLevel()
    return made


def unigram(*, split=True):
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    special = ["<unk>", "<s>", "</s>"]
    made.train_from_iterator(
        LINES,
        trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>", special_tokens=special, show_progress=False),
    )
    return _bert_like(made, "<s>", "</s>")


def byte_fallback():
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(LINES[:3], trainers.BpeTrainer(vocab_size=340, special_tokens=special, show_progress=False))
    return made


MAKERS = {
    "wordpiece": wordpiece,
    "byte_level": byte_level,
    "byte_level_trimmed": functools.partial(byte_level, trim_offsets=True, add_prefix_space=True),
    "unigram": unigram,
    "unigram_whole": functools.partial(unigram, split=False),
    "byte_fallback": byte_fallback,
}


@functools.cache
def tokenizer(name):
    return MAKERS[name]()


def table(name, text, pair=None, *, slow=False):
    """The token table of a made tokenizer; `slow`: as if it gave no offsets."""
    encoding = tokenizer(name).encode(text, pair)
    pieces = [tokenizer(name).id_to_token(token) for token in encoding.ids]  # encoding.tokens has the text of an unknown one
    reserved = {token for token, added in tokenizer(name).get_added_tokens_decoder().items() if added.special}
    return token_table(
        text,
        pair=pair,
        ids=encoding.ids,
        pieces=pieces,
        special=[
            bool(flag) or (token in reserved and not piece.startswith("<0x"))
            for flag, token, piece in zip(encoding.special_tokens_mask, encoding.ids, pieces, strict=True)
        ],
        offsets=None if slow else encoding.offsets,
        segments=None if slow else encoding.sequence_ids,
    )


@functools.cache
def real_tokenizer(name):
    folder = SHARED_DATA / "tokenizers" / name / "hf"
    if not folder.is_dir():
        pytest.skip(f"the vocabulary of {name} is not in {folder}")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def real_table(name, text, pair=None):
    """The token table of a real tokenizer, or a skip where its vocabulary is absent."""
    made = real_tokenizer(name)
    encoding = made(text, pair, return_offsets_mapping=True, return_special_tokens_mask=True)
    ids = encoding["input_ids"]
    return token_table(
        text,
        pair=pair,
        ids=ids,
        pieces=made.convert_ids_to_tokens(ids),
        special=[bool(m) or i in made.all_special_ids for m, i in zip(encoding["special_tokens_mask"], ids, strict=True)],
        offsets=encoding["offset_mapping"],
        segments=encoding.sequence_ids(),
    )


SNIPPETS = [
    *("the cat", "don't", " ", "  ", "\n", "\t", "3.14", "...", "-", "'", "\x00", "\u00a0", "\u2028", "\ufeff"),
    *("nai\u0308ve", "cafe\u0301", "\u0301", "ﬁne", "½", "𝒳", "㎏", "ﷺ", "č", "Č", "İ"),
    *("👩‍👩‍👧", "🇵🇹", "👍🏽", "1️⃣", "\u200d"),
    *("שלום", "مرحبا", "我爱北京", "です", "ラーメン", "안녕", "नमस्ते", "สวัสดี"),
    *("▁", "Ġ", "##x", "[MASK]", "<|end|>", "<0x41>"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(SNIPPETS), min_size=1, max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
"""Texts of every script and of none."""
