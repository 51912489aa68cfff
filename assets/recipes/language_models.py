"""gpt-mini and bert-mini: their sizes, their plans, and one stretch of training of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from . import causal_batches, corpus, vocabularies
from .streams import Stream, StoryStream, corpus_streams, held_out_stories, vocabulary_sample
from .training import Outcome, Plan, train

GPT = "gpt-mini"
VOCABULARY = 8000
LAYERS, HEADS, WIDTH = 6, 8, 256
TOKENS = 60e6
GPT_PLAN = Plan(steps=int(TOKENS // causal_batches.TOKENS_PER_STEP), learning_rate=1.5e-3, warmup_steps=300, decay_share=0.25, seed=11)


@dataclass(frozen=True)
class Prepared:
    """What a language model learns from and is measured on."""

    tokenizer: PreTrainedTokenizerFast
    stories: StoryStream
    corpora: list[Stream]
    held_out: dict[str, Stream]


def prepare(name: str, work: Path, files: Sequence[Path], make: Callable[..., PreTrainedTokenizerFast], separator: str) -> Prepared:
    """The tokenizer and the streams, made once and kept in the work folder."""
    folder = work / name
    place = folder / "tokenizer"
    if not (place / "tokenizer.json").exists():
        make(vocabulary_sample(files), VOCABULARY).save_pretrained(place)
    tokenizer = vocabularies.load(place)
    end = tokenizer.convert_tokens_to_ids(separator)
    streams = corpus_streams(folder / "streams", tokenizer, end, files)
    held_out = {"stories": held_out_stories(folder / "streams", tokenizer, end)} | {key: pair[1] for key, pair in streams.items()}
    return Prepared(tokenizer, StoryStream(folder / "streams", tokenizer, end), [pair[0] for pair in streams.values()], held_out)


def gpt_model(vocabulary: int) -> GPT2LMHeadModel:
    """A GPT-2 of 6 x 8 heads, width 256; dropout off, since hardly any text is read twice."""
    torch.manual_seed(GPT_PLAN.seed)
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=vocabulary, n_positions=vocabularies.GPT_POSITIONS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
        activation_function="gelu_pytorch_tanh",  # the same function as gelu_new, in one kernel
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, use_cache=True))


def train_gpt(work: Path, minutes: float | None, device: str, plan: Plan = GPT_PLAN, log: Callable[[str], None] = print,
              files: Sequence[Path] | None = None) -> Outcome:
    """Train gpt-mini on from its last checkpoint."""
    ready = prepare(GPT, work, files or corpus.default_files(), vocabularies.byte_pairs, vocabularies.END_OF_TEXT)
    model = gpt_model(len(ready.tokenizer))
    rule = causal_batches.batch_rule(ready.stories, ready.corpora, len(ready.tokenizer), plan.seed)
    outcome = train(model, rule, work / GPT / "checkpoints", plan, minutes=minutes, device=device, log=log)
    if outcome.finished:
        save(model, ready.tokenizer, work / "final" / GPT)
    return outcome


def save(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The standard layout, float16."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
