"""t5-mini: dates and numbers in words to digits, small enough that its cross attention can be read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from .number_words import Example, example
from .shipping import ship
from .training import Batch, Outcome, Plan, train

NAME = "t5-mini"
SEED = 31
HELD_OUT_SEED = 1_000_003  # steps use SEED + step: far from any of them, so fresh data is fresh
BATCH = 128
PLAN = Plan(steps=5_000, learning_rate=2e-3, warmup_steps=300, decay_share=0.4, weight_decay=0.01, seed=SEED)
LONGEST_OUTPUT = 16  # tokens: a date has eleven with the end, a number at most seven
GUIDANCE = 0.2  # weight of the alignment loss: enough to break the tie early, a small part of the whole
SMALLEST_MASS = 1e-6
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
RAREST_WORD = 20  # made-up words come once, real ones hundreds of times
VOCABULARY_SAMPLE = 30_000  # examples read for the vocabulary: each of its two hundred words appears hundreds of times
# One token is a word, a digit or a mark, with the space before it: whole words keep the source side of the attention readable,
# single digits give every digit a row of its own.
TOKEN = Regex(r"▁?(\d|[^\s\d▁\W]+|[^\w\s▁])")


def examples(seed: int, count: int) -> list[Example]:
    """`count` examples that depend on the seed alone."""
    draw = random.Random(seed)
    return [example(draw) for _ in range(count)]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer for both sides; lower case, so that "Third of march" works too."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always", split=False), pre_tokenizers.Split(TOKEN, behavior="isolated")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")

    def texts() -> Iterator[str]:
        for item in examples(SEED - 1, VOCABULARY_SAMPLE):
            yield item.source
            yield item.target

    tokenizer.train_from_iterator(
        texts(), trainers.WordLevelTrainer(special_tokens=[PAD, END, UNKNOWN], min_frequency=RAREST_WORD)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=64
    )


def build_model(vocabulary: int) -> T5ForConditionalGeneration:
    """Three layers a side, four heads a layer: 1.5 million parameters."""
    torch.manual_seed(SEED)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=vocabulary,
            d_model=128,
            d_kv=32,
            d_ff=512,
            num_layers=3,
            num_decoder_layers=3,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            relative_attention_max_distance=32,
        )
    )
    model.generation_config.max_new_tokens = LONGEST_OUTPUT
    return model


def encode(tokenizer: PreTrainedTokenizerFast, items: list[Example]) -> Batch:
    """Sources, masks and labels of a batch (padding of labels is not scored), and which source tokens say which digit."""
    source = tokenizer([item.source for item in items], padding=True, return_offsets_mapping=True, return_tensors="pt")
    target = tokenizer([item.target for item in items], padding=True, return_tensors="pt")
    labels = target["input_ids"].masked_fill(target["attention_mask"] == 0, -100)
    starts, ends = source["offset_mapping"].unbind(-1)
    # one span per target position; (0, 0) where nothing says it: no token begins before 0
    spans = torch.zeros(*labels.shape, 2, dtype=torch.long)
    for row, item in enumerate(items):
        for position, span in enumerate(item.said_by):
            if span is not None:
                spans[row, position] = torch.tensor(span)
    said_by = (starts[:, None, :] < spans[..., 1:]) & (ends[:, None, :] > spans[..., :1])
    return {"input_ids": source["input_ids"], "attention_mask": source["attention_mask"], "labels": labels, "said_by": said_by}


def guided_loss(model: T5ForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """The usual loss, and a smaller one that draws the last layer's cross attention to the word that says the digit.

    Guided alignment (Chen, Matusov, Khadivi, Peter 2016, arXiv:1607.01628). Without it the model stayed for a thousand steps
    where it knew the digits and not their order (0.15 nats a token), with the best head at 0.7.
    """
    said_by = batch["said_by"]
    found = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"], output_attentions=True
    )
    mass = (found.cross_attentions[-1].float().mean(1) * said_by).sum(-1)[said_by.any(-1)]
    return found.loss - GUIDANCE * mass.clamp_min(SMALLEST_MASS).log().mean()


def batch_rule(tokenizer: PreTrainedTokenizerFast) -> Callable[[int], Batch]:
    """Fresh examples at every step: nothing is seen twice except by chance."""
    return lambda step: encode(tokenizer, examples(SEED + step, BATCH))


def tokenizer_of(model: Path, work: Path) -> PreTrainedTokenizerFast:
    """The tokenizer beside a finished model, else the one made once and kept in the work folder."""
    place = model if (model / "tokenizer.json").exists() else work / NAME / "tokenizer"
    if not (place / "tokenizer.json").exists():
        build_tokenizer().save_pretrained(place)
    return PreTrainedTokenizerFast.from_pretrained(place)


def train_stretch(
    work: Path, minutes: float | None, device: str, plan: Plan = PLAN, log: Callable[[str], None] = print
) -> Outcome:
    """Train on from the last checkpoint; float32, because at this size bfloat16 autocast was no faster (0.18 s a step each)."""
    folder = work / NAME
    tokenizer = tokenizer_of(folder, work)
    model = build_model(len(tokenizer))
    model.set_attn_implementation("eager")  # only the plain attention hands out its weights
    outcome = train(
        model,
        batch_rule(tokenizer),
        folder / "checkpoints",
        plan,
        minutes=minutes,
        device=device,
        autocast=False,
        log=log,
        loss_rule=guided_loss,
    )
    if outcome.finished:
        ship(model, tokenizer, work / "final" / NAME)
    return outcome
