"""One tiny model of every family, with weights scaled up until each feature of its attention bites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers as tr
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from atlas.engine.loading.load import load
from atlas.engine.loading.quiet_libraries import quiet_transformers

VOCABULARY = 96
TEXT = "the doctor said that she was tired because the cat ran after the dog and the dog ran away from the cat"
TARGET = "a cat and a dog said hello to the tired doctor"

_WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*TEXT.split(), *TARGET.split()}),
    "nurse", "he", "his", "her", ",", ".", "##s", "##ing", "##ed", "e", "##e", "un", "##a", "##t",
]  # fmt: skip


def tokenizer(*, special: bool = True, **changes: Any) -> Any:
    """WordPiece of whole words; `special` adds [CLS] and [SEP] as BERT does."""
    words = _WORDS + [f"w{i}" for i in range(VOCABULARY - len(_WORDS))]
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if special:
        made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return tr.PreTrainedTokenizerFast(tokenizer_object=made, **(names | changes))


@dataclass(frozen=True)
class Family:
    """A family and what its attention has beyond softmax(q k^T / sqrt d)."""

    name: str
    make: Callable[[], Any]
    kinds: tuple[str, ...]
    features: tuple[str, ...] = ()
    """Of 'grouped keys', 'window', 'softcap', 'sinks', 'bias': each has to change the weights when it is switched off."""
    special: bool = True
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """kind -> (layers, heads)"""
    scale: float = 6.0
    """How much larger its matrices have to be."""

    def model(self) -> Any:
        """The model with its matrices scaled up: with the usual small random weights every softmax is flat."""
        torch.manual_seed(0)
        with quiet_transformers():
            made = self.make().eval()
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if parameter.ndim > 1 and "relative" not in name and "position" not in name:
                    parameter.mul_(self.scale)
                elif "relative" in name or name.endswith("sinks"):
                    parameter.normal_()
        return made

    def tokenizer(self) -> Any:
        """A tokenizer as the family has them: with [CLS] and [SEP], or bare."""
        return tokenizer(special=self.special)


_BERT = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
         "max_position_embeddings": 64, "pad_token_id": 0}  # fmt: skip
_BOUNDS = {"bos_token_id": 2, "eos_token_id": 3}
_LLAMA = _BERT | _BOUNDS | {"num_key_value_heads": 2}
_MODERN = _BERT | _BOUNDS | {"cls_token_id": 2, "sep_token_id": 3}
_ENDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 0}
_BART = {"vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": 64,
         **_ENDS}  # fmt: skip
_T5 = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
       "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, **_ENDS}  # fmt: skip
_ALL = ("encoder", "decoder", "cross")
_TWO_SIDES = {"encoder": (2, 4), "decoder": (3, 2), "cross": (3, 2)}

FAMILIES = (
    Family("BERT", lambda: tr.BertForMaskedLM(tr.BertConfig(**_BERT)), ("encoder",)),
    Family("RoBERTa", lambda: tr.RobertaForMaskedLM(tr.RobertaConfig(**_BERT | _BOUNDS)), ("encoder",)),
    Family(
        "DistilBERT",
        lambda: tr.DistilBertForMaskedLM(
            tr.DistilBertConfig(vocab_size=VOCABULARY, dim=32, n_layers=3, n_heads=4, hidden_dim=40, max_position_embeddings=64)
        ),
        ("encoder",),
    ),
    Family("ELECTRA", lambda: tr.ElectraForMaskedLM(tr.ElectraConfig(embedding_size=16, **_BERT)), ("encoder",)),
    Family("ALBERT", lambda: tr.AlbertForMaskedLM(tr.AlbertConfig(embedding_size=16, **_BERT)), ("encoder",)),
    Family(
        "ModernBERT",
        lambda: tr.ModernBertForMaskedLM(
            tr.ModernBertConfig(local_attention=6, global_attn_every_n_layers=3, **_MODERN)
        ),
        ("encoder",),
        ("window",),
    ),
    Family(
        "GPT-2",
        lambda: tr.GPT2LMHeadModel(
            tr.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=2, eos_token_id=3)
        ),
        ("decoder",),
        special=False,
    ),
    Family(
        "GPT-NeoX",
        lambda: tr.GPTNeoXForCausalLM(tr.GPTNeoXConfig(**_BERT | _BOUNDS)),
        ("decoder",),
        special=False,
    ),
    Family("Llama", lambda: tr.LlamaForCausalLM(tr.LlamaConfig(**_LLAMA)), ("decoder",), ("grouped keys",), special=False),
    Family(
        "Qwen3",
        lambda: tr.Qwen3ForCausalLM(tr.Qwen3Config(head_dim=8, **_LLAMA)),
        ("decoder",),
        ("grouped keys",),
        special=False,
    ),
    Family(
        "Mistral",
        lambda: tr.MistralForCausalLM(tr.MistralConfig(sliding_window=5, **_LLAMA)),
        ("decoder",),
        ("grouped keys", "window"),
        special=False,
    ),
    Family(
        "Gemma2",
        lambda: tr.Gemma2ForCausalLM(
            tr.Gemma2Config(head_dim=8, sliding_window=5, attn_logit_softcapping=2.0, query_pre_attn_scalar=8, **_LLAMA)
        ),
        ("decoder",),
        ("grouped keys", "window", "softcap"),
        special=False,
    ),
    Family(
        "GPT-OSS",
        lambda: tr.GptOssForCausalLM(
            tr.GptOssConfig(
                head_dim=8, sliding_window=5, num_local_experts=2, num_experts_per_tok=1, **_LLAMA | {"intermediate_size": 32}
            )
        ),
        ("decoder",),
        ("grouped keys", "window", "sinks"),
        special=False,
    ),
    Family("T5", lambda: tr.T5ForConditionalGeneration(tr.T5Config(**_T5)), _ALL, ("bias",),
           # T5 does not divide by sqrt(d): scaled up like the others, scores of hundreds would show float32's rounding only.
           scale=2.5, shapes={"encoder": (2, 4), "decoder": (3, 4), "cross": (3, 4)}),
    Family("BART", lambda: tr.BartForConditionalGeneration(tr.BartConfig(**_BART)), _ALL, shapes=_TWO_SIDES),
    Family("Marian", lambda: tr.MarianMTModel(tr.MarianConfig(**_BART)), _ALL, shapes=_TWO_SIDES, scale=20.0),
)  # fmt: skip

BY_NAME = {family.name: family for family in FAMILIES}


def loaded(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """The tiny model of a family, borrowed and ready to be traced."""
    family = BY_NAME[name]
    return load((family.model().to(dtype), family.tokenizer()))


def gptj() -> Any:
    """A model outside the attention interface."""
    torch.manual_seed(0)
    config = tr.GPTJConfig(
        vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, rotary_dim=4, n_positions=64, bos_token_id=2, eos_token_id=3
    )
    return tr.GPTJForCausalLM(config).eval()
