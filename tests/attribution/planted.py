"""A tiny model in which one head alone decides, beside a decoy that attends to the same tokens and writes nothing of use."""

from __future__ import annotations

import functools

import torch
import transformers as tr

from atlas.engine.loading.load import load
from atlas.ids import HeadId
from tests.engine.families import VOCABULARY, tokenizer

LAYERS, HEADS, WIDTH = 3, 8, 8

DECIDES, DECOY = HeadId("encoder", 1, 2), HeadId("encoder", 1, 5)

CLS = 2
"""Id of the first token."""

OUTCOME = 1
"""The label that the head that decides speaks for."""


@functools.cache
def planted():
    """A classifier that reads its first token: only what one head brings there from tokens that stand out reaches a label.

    Every token has a strength of its own, in the first dimension of its vector. The head that decides and the decoy attend to
    strong tokens, the first token more than the others do. The value of the head that decides is the strength, which it writes
    into the last dimension; the decoy writes nothing. The others attend at random, and write little.
    """
    torch.manual_seed(3)
    size = HEADS * WIDTH
    config = tr.BertConfig(
        vocab_size=VOCABULARY, hidden_size=size, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=8,
        max_position_embeddings=64, num_labels=2, pad_token_id=0,
    )  # fmt: skip
    hf = tr.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        bert = hf.bert
        bert.embeddings.position_embeddings.weight.zero_()
        bert.embeddings.token_type_embeddings.weight.zero_()
        words = bert.embeddings.word_embeddings.weight
        words.normal_()
        words[:, 0] = torch.linspace(0, 6, VOCABULARY)[torch.randperm(VOCABULARY)]
        words[:, [1, -1]] = 0
        words[0] = 0  # no token at all has no strength
        words[CLS, 1] = 6
        for layer, block in enumerate(bert.encoder.layer):
            block.intermediate.dense.weight.zero_()
            block.output.dense.weight.zero_()
            own, written = block.attention.self, block.attention.output.dense.weight
            written.mul_(0.5)
            for head in (DECIDES, DECOY):
                if layer != head.layer:
                    continue
                rows = slice(head.head * WIDTH, (head.head + 1) * WIDTH)
                own.query.weight[rows] = 0
                own.query.weight[rows, 1] = 0.2
                own.query.bias[rows] = 0.5
                own.key.weight[rows] = 0
                own.key.weight[rows, 0] = 0.4
                own.value.weight[rows] = 0
                own.value.weight[rows.start, 0] = 1.0
                written[:, rows] = 0
                if head == DECIDES:
                    written[-1, rows.start] = 1.0
        bert.pooler.dense.weight.copy_(torch.eye(size) * 0.2)
        bert.pooler.dense.bias.zero_()
        hf.classifier.weight.mul_(0.05)
        hf.classifier.weight[OUTCOME, -1], hf.classifier.weight[1 - OUTCOME, -1] = 4.0, -4.0
    return load((hf, tokenizer()))
