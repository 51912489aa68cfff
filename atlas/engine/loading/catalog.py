"""Known models: what each is, how large it is, what it is good for, and whether it is already on disk.

Nothing here imports torch or transformers, so that `atlas models` answers quickly. The figures are those of the published
configurations; a test builds every architecture from them and counts its parameters.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from atlas.engine.loading.files import is_complete
from atlas.errors import ModelNotFound

ENCODER = ("encoder",)
DECODER = ("decoder",)
BOTH = ("encoder", "decoder", "cross")

SUGGESTIONS = 3
"""How many names a "did you mean" offers. More would be a list to read, not a hint."""

LIKENESS = 0.6
"""How similar a name must be to be offered (difflib's ratio): 'bert-base-uncase' is offered a name, 'my-model' is not."""


@dataclass(frozen=True)
class Entry:
    """One model of the catalog.

    `parameters` counts what `construct` loads for `task`, tied weights once. `ffn` is the width between the two linear
    maps of a feed-forward block (of a gated one: after the gate). `positions` is the usable number of tokens, None where
    nothing bounds it. `kv_heads` differs from `heads` where keys and values are shared by groups of heads.
    """

    name: str
    family: str
    kinds: tuple[str, ...]
    layers: int
    heads: int
    hidden: int
    ffn: int
    vocabulary: int
    parameters: int
    task: str
    positions: int | None
    licence: str
    good_for: str
    hub_id: str | None = None
    aliases: tuple[str, ...] = ()
    decoder_layers: int | None = None
    kv_heads: int | None = None
    gated: bool = False
    traceable: bool = True
    embedded: bool = False
    path: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names of this model, the shortest first."""
        return tuple(dict.fromkeys((self.name, *([self.hub_id] if self.hub_id else []), *self.aliases)))


_bert = partial(Entry, family="BERT", kinds=ENCODER, task="masked-lm", positions=512, licence="apache-2.0")
_gpt2 = partial(Entry, family="GPT-2", kinds=DECODER, vocabulary=50257, task="causal-lm", positions=1024, licence="mit")
_pythia = partial(
    Entry, family="GPT-NeoX", kinds=DECODER, vocabulary=50304, task="causal-lm", positions=2048, licence="apache-2.0"
)

# fmt: off
# One model reads as one block: its size, its name on the hub, its use.
CATALOG: tuple[Entry, ...] = (
    _bert("bert-base-uncased", layers=12, heads=12, hidden=768, ffn=3072, vocabulary=30522, parameters=109_514_298,
          hub_id="google-bert/bert-base-uncased",
          good_for="The encoder most studied: heads for syntax, coreference and separators are known by number."),
    _bert("bert-large-uncased", layers=24, heads=16, hidden=1024, ffn=4096, vocabulary=30522, parameters=335_174_458,
          hub_id="google-bert/bert-large-uncased",
          good_for="Does what BERT base does hold with depth? 384 heads, the same vocabulary."),
    _bert("bert-base-multilingual-uncased", layers=12, heads=12, hidden=768, ffn=3072, vocabulary=105879,
          parameters=167_463_831,
          hub_id="google-bert/bert-base-multilingual-uncased",
          good_for="102 languages in one encoder: the same sentence in two languages, head by head."),
    _gpt2("gpt2", layers=12, heads=12, hidden=768, ffn=3072, parameters=124_439_808,
          hub_id="openai-community/gpt2", aliases=("gpt2-small",),
          good_for="The decoder most studied: previous-token, induction and name-mover heads are known by number."),
    _gpt2("gpt2-medium", layers=24, heads=16, hidden=1024, ffn=4096, parameters=354_823_168,
          hub_id="openai-community/gpt2-medium",
          good_for="Twice the depth of GPT-2 at a size a laptop still runs."),
    _gpt2("gpt2-large", layers=36, heads=20, hidden=1280, ffn=5120, parameters=774_030_080,
          hub_id="openai-community/gpt2-large",
          good_for="720 heads: how roles spread when there are many more places for them."),
    _gpt2("gpt2-xl", layers=48, heads=25, hidden=1600, ffn=6400, parameters=1_557_611_200,
          hub_id="openai-community/gpt2-xl",
          good_for="1,200 heads: the largest of its family, 6.2 GB in float32."),
    Entry("roberta-base", "RoBERTa", ENCODER, 12, 12, 768, 3072, 50265, 124_697_433, "masked-lm", 512, "mit",
          hub_id="FacebookAI/roberta-base",
          good_for="BERT's shape with byte-level BPE, no segments and more training: what training alone changes."),
    Entry("distilbert-base-uncased", "DistilBERT", ENCODER, 6, 12, 768, 3072, 30522, 66_985_530, "masked-lm", 512,
          "apache-2.0",
          hub_id="distilbert/distilbert-base-uncased", aliases=("distilbert",),
          good_for="BERT base distilled into half its layers: which heads survive."),
    Entry("electra-base", "ELECTRA", ENCODER, 12, 12, 768, 3072, 30522, 108_891_648, "base", 512, "apache-2.0",
          hub_id="google/electra-base-discriminator", aliases=("electra-base-discriminator",),
          good_for="Trained to spot replaced tokens instead of filling gaps; attention only, it predicts no words."),
    Entry("albert-base-v2", "ALBERT", ENCODER, 12, 12, 768, 3072, 30000, 11_221_680, "masked-lm", 512, "apache-2.0",
          hub_id="albert/albert-base-v2",
          good_for="One layer's weights used twelve times: what changes with depth is the input alone."),
    Entry("modernbert-base", "ModernBERT", ENCODER, 22, 12, 768, 1152, 50368, 149_655_232, "masked-lm", 8192, "apache-2.0",
          hub_id="answerdotai/ModernBERT-base",
          good_for="Long texts in an encoder: rotary positions, local windows in two layers of three."),
    Entry("t5-small", "T5", BOTH, 6, 8, 512, 2048, 32128, 60_506_624, "seq2seq", None, "apache-2.0", decoder_layers=6,
          hub_id="google-t5/t5-small",
          good_for="All three kinds of attention with positions as a learned bias by distance; trained at 512 tokens."),
    Entry("bart-base", "BART", BOTH, 6, 12, 768, 3072, 50265, 139_420_416, "seq2seq", 1024, "apache-2.0", decoder_layers=6,
          hub_id="facebook/bart-base",
          good_for="A denoising encoder-decoder: how cross attention copies what was left intact."),
    Entry("opus-mt-en-de", "Marian", BOTH, 6, 8, 512, 2048, 58101, 74_410_496, "seq2seq", 512, "cc-by-4.0", decoder_layers=6,
          hub_id="Helsinki-NLP/opus-mt-en-de",
          good_for="English to German translation: cross attention as word alignment."),
    _pythia("pythia-70m", layers=6, heads=8, hidden=512, ffn=2048, parameters=70_426_624,
            hub_id="EleutherAI/pythia-70m",
            good_for="Small and openly trained; revisions step0 to step143000 show attention while it is learnt."),
    _pythia("pythia-160m", layers=12, heads=12, hidden=768, ffn=3072, parameters=162_322_944,
            hub_id="EleutherAI/pythia-160m",
            good_for="GPT-2's shape with rotary positions and a training history by revision (step0 to step143000)."),
    Entry("qwen3-0.6b", "Qwen3", DECODER, 28, 16, 1024, 3072, 151936, 596_049_920, "causal-lm", 40960, "apache-2.0",
          kv_heads=8,
          hub_id="Qwen/Qwen3-0.6B",
          good_for="A present-day multilingual decoder that a laptop runs: grouped keys, normalised queries and keys."),
    Entry("llama-3.2-1b", "Llama", DECODER, 16, 32, 2048, 8192, 128256, 1_235_814_400, "causal-lm", 131072, "llama3.2",
          kv_heads=8, gated=True,
          hub_id="meta-llama/Llama-3.2-1B",
          good_for="The smallest of the most used open family; needs an accepted licence on the hub."),
    Entry("gemma-2-2b", "Gemma 2", DECODER, 26, 8, 2304, 9216, 256000, 2_614_341_888, "causal-lm", 8192, "gemma", kv_heads=4,
          gated=True,
          hub_id="google/gemma-2-2b",
          good_for="Capped scores and windows in every other layer; needs an accepted licence on the hub."),
    Entry("vit-base-patch16-224", "ViT", ENCODER, 12, 12, 768, 3072, 0, 86_567_656, "image-classification", None,
          "apache-2.0", traceable=False,
          hub_id="google/vit-base-patch16-224", aliases=("vit-base",),
          good_for="Images as 196 patches; listed for later, cannot be traced yet."),
)
# fmt: on


def entries(models: Path | None = None) -> tuple[Entry, ...]:
    """Every known model, those shipped in the folder `models` (default: Atlas' own assets) first."""
    from atlas.engine.loading.embedded import embedded  # imported here because `embedded` imports this module

    return (*embedded(models), *CATALOG)


def lookup(name: str, models: Path | None = None) -> Entry | None:
    """The model with this name, alias or hub id, ignoring case; None where there is none."""
    wanted = name.strip().casefold()
    return next((entry for entry in entries(models) if wanted in (known.casefold() for known in entry.names)), None)


def suggestions(name: str, models: Path | None = None) -> tuple[str, ...]:
    """The catalog names most similar to an unknown name."""
    names = {known.casefold(): entry.name for entry in entries(models) for known in entry.names}
    wanted = name.strip().casefold()
    close = difflib.get_close_matches(wanted, names, n=SUGGESTIONS * 2, cutoff=LIKENESS)
    within = [known for known in names if len(wanted) > 2 and wanted in known]
    return tuple(dict.fromkeys(names[known] for known in (*close, *within)))[:SUGGESTIONS]


def find(name: str, models: Path | None = None) -> Entry:
    """The model with this name, alias or hub id.

    Raises
    ------
    ModelNotFound
        If the catalog has none; the message offers the closest names.
    """
    entry = lookup(name, models)
    if entry is None:
        msg = f"The catalog has no model {name!r}.{did_you_mean(suggestions(name, models))} `atlas models` lists all."
        raise ModelNotFound(msg)
    return entry


def did_you_mean(names: Iterable[str]) -> str:
    """A half-sentence of suggestions for an error message, with its leading space; empty where there are none."""
    listed = " or ".join(names)
    return f" Did you mean {listed}?" if listed else ""


def cache_folder() -> Path:
    """The folder of the hub's cache, by the environment as it is now, not as it was when huggingface_hub was imported."""
    direct = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if direct:
        return Path(os.path.expandvars(direct)).expanduser()
    home = os.environ.get("HF_HOME")
    if not home:
        home = str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def cached_snapshot(repo_id: str, revision: str | None = None, *, cache: Path | None = None) -> Path | None:
    """The folder of a complete copy (configuration, all shards, tokenizer) in the hub cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo_id, "config.json", cache_dir=cache or cache_folder(), revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if is_complete(folder) else None


def on_disk(entry: Entry, *, cache: Path | None = None) -> Path | None:
    """The folder that already holds this model, so that loading it needs no network; None where there is none."""
    if entry.path is not None:
        return entry.path
    # A cache that was filled before the hub gave every model an owner has the short name.
    repositories = [entry.hub_id, entry.name] if entry.hub_id else []
    found = (cached_snapshot(repo_id, cache=cache) for repo_id in repositories if repo_id)
    return next((folder for folder in found if folder is not None), None)
