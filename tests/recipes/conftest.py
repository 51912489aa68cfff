from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from assets.recipes import streams, t5_dates, vocabularies
from assets.recipes.shipping import ship


@pytest.fixture(scope="session")
def t5_tokenizer():
    return t5_dates.build_tokenizer()


@pytest.fixture(scope="session")
def classifier_encoder(tmp_path_factory):
    """A tiny untrained bert-mini, shipped as the real one is."""
    tokenizer = vocabularies.word_piece(streams.story_texts(8, 300), 700)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    folder = tmp_path_factory.mktemp("encoder")
    ship(BertForMaskedLM(config), tokenizer, folder)
    return folder
