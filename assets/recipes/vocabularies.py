"""Tokenizers of the language models, trained on the mixture they will read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_POSITIONS = 256
GPT_POSITIONS = 512


def word_piece(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """WordPiece as BERT has it, lower case.

    Lower case, because (1) the detectors and word lists of the bias work (GUS-Net on bert-base-uncased) are lower case, so words
    line up one to one; (2) a noun at the start of a sentence is the same token as inside it, so a counterfactual swap changes one
    token and nothing else; (3) a vocabulary of this size holds a fifth more words.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(BERT_SPECIALS), min_frequency=2)
    )
    first, last = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", first), ("[SEP]", last)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=BERT_POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def byte_pairs(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2 has it: any text can be written, nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        model_max_length=GPT_POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
    )


def load(folder: Path) -> PreTrainedTokenizerFast:
    """A tokenizer saved before."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
