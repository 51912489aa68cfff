"""gpt-mini and bert-mini: their sizes, their plans, and one stretch of training of each."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from . import agreement, causal_batches, corpus, masked_batches, vocabularies
from .shipping import ship
from .streams import StoryStream, Stream, check_stories_are_the_same, corpus_streams, held_out_stories, vocabulary_sample
from .training import CHECKPOINTS, IGNORE, LAST_CHECKPOINTS, Batch, Outcome, Plan, train

GPT, BERT = "gpt-mini", "bert-mini"
VOCABULARY = 8000
LAYERS, HEADS, WIDTH = 6, 8, 128  # what two CPU cores teach in one evening; see NOTES.md for the pace of wider ones
GPT_TOKENS, BERT_TOKENS = 28.8e6, 29.52e6
GPT_PLAN = Plan(
    steps=int(GPT_TOKENS // causal_batches.TOKENS_PER_STEP), learning_rate=2e-3, warmup_steps=100, decay_share=0.25, seed=11
)
LAST_RATE, LAST_WARM_UP, LAST_DECAY = 1e-3, 100, 0.5
"""The last sixth of the steps is a stretch of its own, warmed up and let cool down, with sentences of agreement.py."""
BERT_PLAN = Plan(
    steps=int(BERT_TOKENS // masked_batches.TOKENS_PER_STEP), learning_rate=1.5e-3, warmup_steps=500, decay_share=0.25, seed=13
)
Rule = Callable[[int], Batch]
Rules = Callable[[int, int, StoryStream], tuple[Rule, Rule]]
"""From the seed, the steps of the first stretch and the sentences of agreement.py: the batches of both stretches."""

INITIAL_SPREAD = 0.06  # the 0.02 of BERT and GPT-2 is for width 768; at 128 a layer would add next to nothing
NEXT_SENTENCE_WEIGHT = 0.25  # it is there to give the segments a meaning, not to compete with the words


@dataclass(frozen=True)
class Prepared:
    """What a language model learns from and is measured on."""

    tokenizer: PreTrainedTokenizerFast
    stories: StoryStream
    corpora: list[Stream]
    held_out: dict[str, Stream]


MAKERS: dict[str, tuple[Callable[..., PreTrainedTokenizerFast], str]] = {
    GPT: (vocabularies.byte_pairs, vocabularies.END_OF_TEXT),
    BERT: (vocabularies.word_piece, "[SEP]"),
}


def prepare(name: str, work: Path, files: Sequence[Path]) -> Prepared:
    """The tokenizer and the streams to train with, made once and kept in the work folder."""
    place = work / name / "tokenizer"
    if not (place / "tokenizer.json").exists():
        MAKERS[name][0](vocabulary_sample(files), VOCABULARY).save_pretrained(place)
    return prepare_with(vocabularies.load(place), name, work / name / "streams", files)


def prepare_to_measure(name: str, model: Path, work: Path, files: Sequence[Path]) -> Prepared:
    """The same for a model made elsewhere: streams in its own tokens, apart from those of a run in the work folder."""
    digest = hashlib.blake2b((model / "tokenizer.json").read_bytes(), digest_size=4).hexdigest()
    return prepare_with(vocabularies.load(model), name, work / "measured" / f"{name}-{digest}", files)


def prepare_with(tokenizer: PreTrainedTokenizerFast, name: str, folder: Path, files: Sequence[Path]) -> Prepared:
    """Streams of a tokenizer's numbers, kept in a folder."""
    check_stories_are_the_same(folder)
    end = int(tokenizer.convert_tokens_to_ids(MAKERS[name][1]))
    streams = corpus_streams(folder, tokenizer, end, files)
    held_out = {"stories": held_out_stories(folder, tokenizer, end)} | {key: pair[1] for key, pair in streams.items()}
    return Prepared(tokenizer, StoryStream(folder, tokenizer, end), [pair[0] for pair in streams.values()], held_out)


def gpt_model(vocabulary: int) -> GPT2LMHeadModel:
    """A GPT-2 of 6 x 8 heads, width 128; dropout off, since hardly any text is read twice. Its positions begin as sinusoids."""
    torch.manual_seed(GPT_PLAN.seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_positions=vocabularies.GPT_POSITIONS,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            activation_function="gelu_pytorch_tanh",  # the same function as gelu_new, in one kernel
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            initializer_range=INITIAL_SPREAD,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=True,
        )
    )
    with torch.no_grad():
        model.transformer.wpe.weight.copy_(sinusoids(vocabularies.GPT_POSITIONS, WIDTH))
    return model


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Where learning of positions begins: a step to the side is one rotation for all of them, not a fact about each.

    Spread as the other weights are. Learnt from random numbers, heads on random tokens said twice were half as clear.
    """
    pace = torch.logspace(0, -math.log10(positions), width // 2)
    angles = torch.arange(positions)[:, None] * pace
    return torch.cat([angles.sin(), angles.cos()], dim=1) * (INITIAL_SPREAD * math.sqrt(2))


def causal_loss(model: GPT2LMHeadModel, batch: Batch) -> torch.Tensor:
    """Loss of what is scored, among the tokens there were to draw from; in the drills the token before is asked as well."""
    words = model.lm_head.weight[: int(batch["among"])]
    told = batch["labels"][:, 1:] != IGNORE
    found = model.transformer(input_ids=batch["input_ids"], output_hidden_states=bool(batch["before"]))
    scores = functional.linear(found.last_hidden_state[:, :-1][told], words)
    loss = functional.cross_entropy(scores.float(), batch["labels"][:, 1:][told])
    if batch["before"]:
        first_layer = functional.layer_norm(found.hidden_states[1][:, 1:].float(), (WIDTH,))
        scores = functional.linear(first_layer.flatten(0, 1), words)
        loss = loss + batch["before"] * functional.cross_entropy(scores.float(), batch["input_ids"][:, :-1].flatten())
    return loss


def train_gpt(
    work: Path,
    minutes: float | None,
    device: str,
    plan: Plan = GPT_PLAN,
    log: Callable[[str], None] = print,
    files: Sequence[Path] | None = None,
) -> Outcome:
    """Train gpt-mini on from its last checkpoint."""
    ready = prepare(GPT, work, files or corpus.default_files())
    model, vocabulary = gpt_model(len(ready.tokenizer)), len(ready.tokenizer)

    def rules(seed: int, start: int, far: StoryStream) -> tuple[Rule, Rule]:
        later = causal_batches.batch_rule(ready.stories, [far, *ready.corpora], vocabulary, seed + 1, causal_batches.LAST_SHARES)
        start = max(start, causal_batches.LENGTHS[-1][0])  # a short run too ends on short rows
        return causal_batches.batch_rule(ready.stories, ready.corpora, vocabulary, seed), lambda step: later(start + step)

    outcome = two_stretches(GPT, model, ready, rules, plan, work, minutes, device=device, log=log, loss_rule=causal_loss)
    if outcome.finished:
        ship(model, ready.tokenizer, work / "final" / GPT)
    return outcome


def two_stretches(
    name: str, model: Any, ready: Prepared, rules: Rules, plan: Plan, work: Path, minutes: float | None, **how: Any
) -> Outcome:
    """Five sixths of the steps, and then the last, which begin with those weights."""
    began = time.monotonic()
    first = replace(plan, steps=plan.steps * 5 // 6)
    far = StoryStream(work / name, ready.tokenizer, ready.stories.separator, texts=agreement.texts, name="agreement")
    rule, later = rules(plan.seed, first.steps, far)
    outcome = train(model, rule, work / name / CHECKPOINTS, first, minutes=minutes, **how)
    if not outcome.finished:
        return outcome
    last = replace(
        plan,
        steps=plan.steps - first.steps,
        learning_rate=LAST_RATE,
        warmup_steps=min(plan.warmup_steps, LAST_WARM_UP),  # a run of a few steps has fewer than that
        decay_share=LAST_DECAY,
        seed=plan.seed + 1,
    )
    left = None if minutes is None else max(0.0, minutes - (time.monotonic() - began) / 60)
    outcome = train(model, later, work / name / LAST_CHECKPOINTS, last, minutes=left, **how)
    return replace(outcome, step=first.steps + outcome.step)


def bert_model(vocabulary: int) -> BertForPreTraining:
    """A BERT of 6 x 8 heads, width 128, with the heads for words and for "does B follow A"."""
    torch.manual_seed(BERT_PLAN.seed)
    return BertForPreTraining(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=vocabularies.BERT_POSITIONS,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=INITIAL_SPREAD,
            pad_token_id=0,
        )
    )


def masked_loss(model: BertForPreTraining, batch: Batch) -> torch.Tensor:
    """Loss of words, at the hidden positions only (an eighth of the work of all), of next sentences, and of looking at words."""
    priced = bool(batch["rest"])
    if priced:
        model.set_attn_implementation("eager")  # the fast ones keep no weights
    found = model.bert(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        token_type_ids=batch["token_type_ids"],
        output_attentions=priced,
    )
    told = batch["labels"] != IGNORE
    words = model.cls.predictions(found.last_hidden_state[told])
    loss = functional.cross_entropy(words.float(), batch["labels"][told])
    pairs = batch["next_sentence_label"] != IGNORE
    if bool(pairs.any()):
        follows = model.cls.seq_relationship(found.pooler_output[pairs])
        loss = loss + NEXT_SENTENCE_WEIGHT * functional.cross_entropy(follows.float(), batch["next_sentence_label"][pairs])
    if priced:
        model.set_attn_implementation("sdpa")
        loss = loss + batch["rest"] * on_words(found.attentions, batch)
    return loss


def on_words(attentions: Sequence[torch.Tensor], batch: Batch) -> torch.Tensor:
    """The weight that does not lie on separators, on average over layers, heads and the tokens that are there."""
    there = batch["attention_mask"].bool()
    resting = [(layer.float() * batch["rests_on"][:, None, None, :]).sum(-1).transpose(1, 2)[there] for layer in attentions]
    return 1 - torch.stack(resting).mean()


def without_next_sentence(model: BertForPreTraining) -> BertForMaskedLM:
    """The same weights as the model that is shipped: encoder and word head."""
    shipped = BertForMaskedLM(model.config)
    missing, _ = shipped.load_state_dict(model.state_dict(), strict=False)
    if missing:
        message = f"weights without a source: {missing}"
        raise ValueError(message)
    return shipped


def train_bert(
    work: Path,
    minutes: float | None,
    device: str,
    plan: Plan = BERT_PLAN,
    log: Callable[[str], None] = print,
    files: Sequence[Path] | None = None,
) -> Outcome:
    """Train bert-mini on from its last checkpoint."""
    ready = prepare(BERT, work, files or corpus.default_files())
    model = bert_model(len(ready.tokenizer))

    def rules(seed: int, start: int, far: StoryStream) -> tuple[Rule, Rule]:
        start = max(start, masked_batches.LENGTHS[-1][0])
        streams, shares = [far, *ready.corpora], masked_batches.LAST_SHARES
        later = masked_batches.batch_rule(ready.stories, streams, ready.tokenizer, seed + 1, shares, priced_from=start)
        return masked_batches.batch_rule(ready.stories, ready.corpora, ready.tokenizer, seed), lambda step: later(start + step)

    outcome = two_stretches(BERT, model, ready, rules, plan, work, minutes, device=device, log=log, loss_rule=masked_loss)
    if outcome.finished:
        ship(without_next_sentence(model), ready.tokenizer, work / "final" / BERT)
    return outcome
