"""Further tiny models whose parts add in other ways, and one call to tap everything of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as tr

from atlas.engine.anatomy import internals
from atlas.engine.anatomy.attention_sites import find_attention_sites
from atlas.engine.anatomy.records import ALL_TAPS, Anatomy
from atlas.engine.loading.quiet_libraries import quiet_transformers
from atlas.engine.running import attention
from atlas.engine.running.context import AttentionSite, AttentionSites, Call, Terms, running
from tests.engine.families import FAMILIES, VOCABULARY, gptj

_SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
          "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}  # fmt: skip
_GROUPED = _SMALL | {"num_key_value_heads": 2}
_OPT = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 40,
        "max_position_embeddings": 64, "pad_token_id": 0}  # fmt: skip
_T5 = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
       "pad_token_id": 0, "decoder_start_token_id": 0}  # fmt: skip

MAKERS: dict[str, Callable[[], Any]] = {
    **{family.name: family.model for family in FAMILIES},
    "GPT-NeoX, sequential": lambda: tr.GPTNeoXForCausalLM(tr.GPTNeoXConfig(use_parallel_residual=False, **_SMALL)),
    "Qwen2": lambda: tr.Qwen2ForCausalLM(tr.Qwen2Config(**_GROUPED)),
    "Mixtral": lambda: tr.MixtralForCausalLM(tr.MixtralConfig(num_local_experts=4, **_GROUPED | {"intermediate_size": 32})),
    "Phi": lambda: tr.PhiForCausalLM(tr.PhiConfig(**_SMALL)),
    "Phi-3": lambda: tr.Phi3ForCausalLM(tr.Phi3Config(**_GROUPED)),
    "OPT": lambda: tr.OPTForCausalLM(tr.OPTConfig(word_embed_proj_dim=32, **_OPT)),
    "OPT, post-norm": lambda: tr.OPTForCausalLM(tr.OPTConfig(word_embed_proj_dim=16, do_layer_norm_before=False, **_OPT)),
    "T5, gated": lambda: tr.T5ForConditionalGeneration(
        tr.T5Config(feed_forward_proj="gated-gelu", tie_word_embeddings=False, **_T5)
    ),
    "Granite": lambda: tr.GraniteForCausalLM(
        tr.GraniteConfig(residual_multiplier=0.22, embedding_multiplier=12.0, logits_scaling=8.0, **_GROUPED)
    ),
    "Cohere": lambda: tr.CohereForCausalLM(tr.CohereConfig(**_GROUPED)),
    "OLMo-2": lambda: tr.Olmo2ForCausalLM(tr.Olmo2Config(**_GROUPED)),
    "BERT, one layer": lambda: tr.BertForMaskedLM(tr.BertConfig(**_SMALL | {"num_hidden_layers": 1})),
    "BERT, pretraining": lambda: tr.BertForPreTraining(tr.BertConfig(**_SMALL)),
    "BERT, labels": lambda: tr.BertForSequenceClassification(tr.BertConfig(**_SMALL)),
    "ViT": lambda: tr.ViTForImageClassification(
        tr.ViTConfig(
            hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40, image_size=16, patch_size=4
        )
    ),
    "GPT-J": gptj,
    "BLOOM": lambda: tr.BloomForCausalLM(tr.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=3, n_head=4)),
    "XLNet": lambda: tr.XLNetLMHeadModel(tr.XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=3, n_head=4, d_inner=40)),
}

OUTSIDE = ("GPT-J", "BLOOM", "XLNet")
"""Families that do not use the attention interface."""

UNREADABLE = "XLNet"
"""Its states are (position, batch, width)."""

LARGER = 6.0


@dataclass
class Watched:
    """Keeps what the heads of every layer read."""

    z: dict[tuple[str, int], torch.Tensor]
    keep_graph: bool = False

    def block_of_heads(self, site: AttentionSite, terms: Terms) -> int:  # noqa: ARG002 - the watcher's protocol
        return terms.query.shape[1]

    def saw_terms(self, site: AttentionSite, terms: Terms) -> None:
        pass

    def saw_weights(self, site: AttentionSite, terms: Terms, heads: slice, scores: torch.Tensor, weights: torch.Tensor) -> None:
        pass

    def saw_output(self, site: AttentionSite, output: torch.Tensor) -> None:
        self.z[site.kind, site.layer] = output


@dataclass
class Body:
    """A model with its anatomy and its hooks."""

    name: str
    hf: Any
    sites: AttentionSites
    anatomy: Anatomy
    handles: list[Any]

    def inputs(self, seed: int = 7, batch: int = 2, length: int = 13) -> dict[str, torch.Tensor]:
        """Another input than the probe: longer, other tokens, two different rows."""
        return inputs_of(self.hf, seed, batch, length)

    def tapped(self, inputs: dict[str, torch.Tensor], names: Iterable[str] = ALL_TAPS) -> tuple[dict[str, Any], Any, Watched]:
        """Captures, outputs and what the heads read, of one pass."""
        watched = Watched({})
        call = Call(sites=self.sites, watcher=watched, taps={}, wanted_taps=frozenset(names))
        with torch.no_grad(), running(call):
            output = self.hf(**inputs, output_hidden_states=True)
        assert call.taps is not None
        return call.taps, output, watched


def inputs_of(hf: Any, seed: int, batch: int, length: int) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    if hasattr(hf.config, "image_size"):
        return {"pixel_values": torch.randn(batch, 3, 16, 16, generator=made)}
    ids = torch.randint(10, VOCABULARY, (batch, length), generator=made)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if hf.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(10, VOCABULARY, (batch, length - 4), generator=made)
        inputs["decoder_input_ids"][:, 0] = 0  # a decoder starts with padding, whose row in the table may be all zeros
    return inputs


def made(name: str) -> Any:
    """The model alone, its matrices scaled up and its vectors (biases, norms) moved, so that every part can be told."""
    torch.manual_seed(0)
    with quiet_transformers():
        hf = MAKERS[name]().eval()
    own = name in {family.name for family in FAMILIES}
    torch.manual_seed(1)
    with torch.no_grad():
        for path, parameter in hf.named_parameters():
            if parameter.ndim > 1 and not own and "position" not in path:
                parameter.mul_(LARGER)
            elif parameter.ndim == 1 and not path.endswith("sinks"):
                parameter.add_(torch.randn_like(parameter) * 0.2)
        for path, buffer in hf.named_buffers():
            if path.endswith("final_logits_bias"):
                buffer.normal_()
    return hf


def body(name: str, hf: Any = None) -> Body:
    """A tiny model, opened."""
    hf = made(name) if hf is None else hf
    probe = inputs_of(hf, 1, 1, 11)
    if name in OUTSIDE:
        anatomy = internals.find_anatomy(hf, {}, probe)
        return Body(name, hf, {}, anatomy, internals.install(hf, anatomy))
    attention.register()
    hf.set_attn_implementation(attention.NAME)
    sites = find_attention_sites(hf, probe)
    anatomy = internals.find_anatomy(hf, sites, probe)
    return Body(name, hf, sites, anatomy, internals.install(hf, anatomy))


_BODIES: dict[str, Body] = {}


def opened(name: str) -> Body:
    """The same body for all tests that leave it as it is."""
    if name not in _BODIES:
        _BODIES[name] = body(name)
    return _BODIES[name]
