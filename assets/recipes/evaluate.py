"""Measure models: `python -m assets.recipes.evaluate [--only NAME] [--model FOLDER] [--work DIR]`; JSON and a table for the card.

Without --model the embedded model is measured; where there is none, the final one of the work folder, or its newest checkpoint
while it is still being trained. Without the corpora a language model is measured on stories and minimal pairs only; models that
are measured on data that is not there are passed over, with a line that says so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import spacy
import torch
import transformers
from transformers import (
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5ForConditionalGeneration,
)

from . import (
    causal_batches,
    corpus,
    en_atlas,
    gus_calibration,
    gus_data,
    gus_mini,
    head_measures,
    language_models,
    masked_batches,
    mood_mini,
    rounding,
    t5_dates,
    t5_measures,
    vocabularies,
)
from .card import card, table
from .minimal_pairs import PER_KIND, preferences
from .places import EMBEDDED, work_folder
from .streams import Stream
from .training import newest_checkpoint

PER_STEP = {  # tokens a step; examples for t5-mini, sentences for the classifiers, words for the pipeline
    language_models.GPT: causal_batches.TOKENS_PER_STEP,
    language_models.BERT: masked_batches.TOKENS_PER_STEP,
    t5_dates.NAME: t5_dates.BATCH,
    gus_mini.NAME: gus_mini.BATCH,
    mood_mini.NAME: mood_mini.BATCH,
    en_atlas.NAME: en_atlas.WORDS_PER_STEP,
}
NAMES = tuple(PER_STEP)
NEEDS = {gus_mini.NAME: gus_data.DATA, en_atlas.NAME: en_atlas.DATA}  # what nothing can be measured without
KINDS: dict[str, type[PreTrainedModel]] = {
    language_models.GPT: GPT2LMHeadModel,
    language_models.BERT: BertForMaskedLM,
    t5_dates.NAME: T5ForConditionalGeneration,
    gus_mini.NAME: BertForTokenClassification,
    mood_mini.NAME: BertForSequenceClassification,
}
WEIGHTS = {en_atlas.NAME: "meta.json"}  # the file that says that a model is there; model.safetensors for all others
ROW = 256
ROWS = 32  # per source: 8,192 tokens, a standard error of the loss of about 0.03
ROWS_FOR_HEADS = 8
TOP = 5
MASKED_IN_TESTS = 0.15  # as BERT was measured, whatever a recipe hides while it trains
SEED = 3


def rows(stream: Stream, length: int, count: int) -> np.ndarray:
    """The first rows of a held-out stream, no more than it holds."""
    count = min(count, len(stream.tokens) // length)
    return stream.take(0, count * length).astype(np.int64).reshape(count, length)


def causal_quality(model: PreTrainedModel, ids: np.ndarray) -> tuple[float, float]:
    """Loss in nats a token, and how often the token is among the five likeliest."""
    losses, tops = [], []
    for part in torch.from_numpy(ids).split(ROWS_FOR_HEADS):
        with torch.no_grad():
            logits = model(input_ids=part).logits[:, :-1].float()
        target = part[:, 1:]
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()).item() * target.numel())
        tops.append((logits.topk(TOP, -1).indices == target[..., None]).any(-1).sum().item())
    count = ids.shape[0] * (ids.shape[1] - 1)
    return sum(losses) / count, sum(tops) / count


def masked_quality(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, ids: np.ndarray) -> tuple[float, float]:
    """The same for a masked model: 15 % of the tokens masked by BERT's rule, fixed by a seed."""
    marks = masked_batches.Marks.of(tokenizer)
    words = ids[:, : vocabularies.BERT_POSITIONS - 2]
    framed = np.concatenate([np.full((len(ids), 1), marks.cls), words, np.full((len(ids), 1), marks.sep)], axis=1)
    hidden, labels = masked_batches.hide(framed, marks, np.random.default_rng(SEED), MASKED_IN_TESTS)
    loss, top, count = 0.0, 0, 0
    for part, told in zip(
        torch.from_numpy(hidden).split(ROWS_FOR_HEADS), torch.from_numpy(labels).split(ROWS_FOR_HEADS), strict=True
    ):
        with torch.no_grad():
            logits = model(input_ids=part).logits.float()[told >= 0]
        target = told[told >= 0]
        loss += torch.nn.functional.cross_entropy(logits, target, reduction="sum").item()
        top += (logits.topk(TOP, -1).indices == target[:, None]).any(-1).sum().item()
        count += len(target)
    return loss / count, top / count


def language_measures(
    name: str, model: PreTrainedModel, ready: language_models.Prepared, per_kind: int = PER_KIND
) -> dict[str, object]:
    """Everything the issue asks of a language model."""
    causal = name == language_models.GPT
    quality = {}
    for source, stream in ready.held_out.items():
        ids = rows(stream, ROW, ROWS)
        loss, top = causal_quality(model, ids) if causal else masked_quality(model, ready.tokenizer, ids)
        quality[source] = {"loss": round(loss, 4), "top5": round(top, 4), "tokens": int(ids.size)}
    prose = next((name for name in ready.held_out if name != "stories"), "stories")
    some = rows(ready.held_out[prose], ROW // 2, ROWS_FOR_HEADS)
    heads = (
        head_measures.causal_heads(model, some, len(ready.tokenizer))
        if causal
        else head_measures.masked_heads(model, ready.tokenizer, some)
    )
    pairs = {kind: round(share, 3) for kind, share in preferences(model, ready.tokenizer, per_kind).items()}
    return {"held_out": quality, "minimal_pairs": pairs, "heads": heads}


def found_model(name: str, work: Path, given: Path | None) -> tuple[Path, str]:
    """The folder to measure and what it is."""
    if given:
        return given, str(given)
    mark = WEIGHTS.get(name, "model.safetensors")
    if (EMBEDDED / name / mark).exists():
        return EMBEDDED / name, "embedded"
    if (work / "final" / name / mark).exists():
        return work / "final" / name, "final"
    checkpoint = newest_checkpoint(work / name)
    if checkpoint is None:
        message = f"nothing of {name} in {work}: build it first, or name a folder with --model"
        raise SystemExit(message)
    return checkpoint, checkpoint.name


def measure(
    name: str, work: Path, files: Sequence[Path], given: Path | None = None, per_kind: int = PER_KIND
) -> dict[str, object]:
    """Measures of one model as plain values."""
    folder, what = found_model(name, work, given)
    if name == t5_dates.NAME:
        model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        measured = t5_measures.measures(model, t5_dates.tokenizer_of(folder, work))
    elif name == gus_mini.NAME:
        detector = BertForTokenClassification.from_pretrained(folder, dtype=torch.float32)
        measured = gus_mini.measures(detector, vocabularies.load(folder))
    elif name == mood_mini.NAME:
        teller = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        measured = mood_mini.measures(teller, vocabularies.load(folder))
    elif name == en_atlas.NAME:
        measured = en_atlas.measures(spacy.load(folder))
    else:
        shipped = (folder / "tokenizer.json").exists()  # a checkpoint has none: its tokenizer lies beside it
        ready = (
            language_models.prepare_to_measure(name, folder, work, files)
            if shipped
            else language_models.prepare(name, work, files)
        )
        model = KINDS[name].from_pretrained(folder, dtype=torch.float32).eval()
        measured = language_measures(name, model, ready, per_kind)
    return {"name": name, "measured": what, **measured, **_rounding(name, work, what, folder)}


def _rounding(name: str, work: Path, what: str, folder: Path) -> dict[str, object]:
    """What storing in half precision changed; nothing where the checkpoint that was stored is not there."""
    checkpoint = newest_checkpoint(work / name)
    if name not in KINDS or what != "final" or checkpoint is None:
        return {}
    found = rounding.largest_differences(KINDS[name], folder, checkpoint, vocabularies.load(folder))
    return {"largest difference of a logit": found}


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=NAMES, action="append")
    parser.add_argument("--model", type=Path, help="a folder in the standard layout; needs one --only")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--text", type=Path, nargs="+", help="text files instead of the corpora")
    parser.add_argument("--pairs", type=int, default=PER_KIND, help="minimal pairs of each kind")
    options = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    work = work_folder(options.work)
    files = options.text or [file for file in corpus.known_files() if file.exists()]
    for name in options.only or NAMES:
        needed = NEEDS.get(name)
        if needed and not needed.exists():
            print(f"{name} is not measured: its data is not at {needed}", flush=True)
            continue
        measured = measure(name, work, files, options.model, options.pairs)
        place = work / "measures"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        (place / f"{name}.md").write_text(table(measured) + "\n", encoding="utf-8")
        if measured["measured"] == "final":
            final = work / "final" / name
            if name == gus_mini.NAME:
                gus_calibration.write(final)
            (final / "MODEL_CARD.md").write_text(card(name, final, work / name, measured, PER_STEP[name]), encoding="utf-8")
        print(f"{name} ({measured['measured']})", table(measured), sep="\n\n", flush=True)


if __name__ == "__main__":
    main()
