"""Models outside the attention interface: their own weights, masks read off them, and a clear no where there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tr

from atlas.engine.loading.load import load
from atlas.errors import UnsupportedModel
from tests.engine.families import BY_NAME, TEXT, VOCABULARY, tokenizer


def test_a_window_is_read_off_the_weights() -> None:
    """GPT-Neo's local layers see four tokens: beyond is masked, not zero, and chance is chance within the window."""
    torch.manual_seed(0)
    config = tr.GPTNeoConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_layers=2, attention_types=[[["global", "local"], 1]], num_heads=4,
        window_size=4, max_position_embeddings=64, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    model = load((tr.GPTNeoForCausalLM(config).eval(), BY_NAME["GPT-2"].tokenizer()))
    assert not model.interface
    trace = model.trace(TEXT)
    weights = trace.attention().to_numpy()
    n = weights.shape[-1]
    distance = np.arange(n)[:, None] - np.arange(n)
    assert np.array_equal(np.isnan(weights[0, 0]), distance < 0)
    assert np.array_equal(np.isnan(weights[1, 0]), (distance < 0) | (distance >= 4))
    uniform = trace.heads.groupby("layer")["confidence_mean_uniform"].first()
    assert uniform[1] > uniform[0]
    assert trace.heads.groupby("layer")["entropy_norm_uniform"].first().to_numpy() == pytest.approx([1, 1])


def test_bands_are_no_weights_between_tokens() -> None:
    torch.manual_seed(0)
    config = tr.LongformerConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        attention_window=4, max_position_embeddings=64, pad_token_id=0, sep_token_id=3,
    )  # fmt: skip
    with pytest.raises(UnsupportedModel, match="no weights between tokens"):
        load((tr.LongformerForMaskedLM(config).eval(), tokenizer()))


def test_alibi_is_outside_and_traced() -> None:
    torch.manual_seed(0)
    config = tr.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, bos_token_id=2, eos_token_id=3)
    hf = tr.BloomForCausalLM(config).eval()
    model = load((hf, BY_NAME["GPT-2"].tokenizer()))
    trace = model.trace(TEXT)
    ids = torch.tensor(trace.tokens()["id"].to_numpy(copy=True))[None]
    with torch.no_grad():
        own = torch.cat(hf(ids, output_attentions=True).attentions).numpy()
    assert np.abs(np.nan_to_num(trace.attention().to_numpy()) - own).max() <= 1e-5
