"""A tiny masked language model in which one head alone prefers stereotypes and another one sense, and examples to ask it."""

from __future__ import annotations

import functools

import numpy as np
import torch
import transformers as tr

from atlas.engine.loading.load import load
from atlas.ids import HeadId
from tests.engine.families import TARGET, TEXT, VOCABULARY, tokenizer

LAYERS, HEADS, WIDTH = 3, 8, 8

PREJUDICED, SENSIBLE, IDLE = HeadId("encoder", 1, 2), HeadId("encoder", 0, 4), HeadId("encoder", 1, 5)
"""The head that alone writes what makes stereotypes likelier, the one that writes what makes sense likelier, and one that writes
nothing."""

STEREOTYPES, OTHERS, SENSELESS = ([f"w{at}" for at in range(first, first + 12)] for first in (0, 12, 24))
"""Words for the blank: many, so that no kind is likelier than another by chance."""


@functools.cache
def prejudiced(*, planted: bool = True):
    """The model; without what is planted, all heads write by chance.

    Both planted heads look everywhere alike and write the mean of their values, which the first dimension of every token makes
    1, each into a dimension of its own. The words of the three kinds are read from these dimensions; which word of two is
    likelier without them hangs on the words around by chance.
    """
    torch.manual_seed(4)
    size = HEADS * WIDTH
    config = tr.BertConfig(
        vocab_size=VOCABULARY, hidden_size=size, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=8,
        max_position_embeddings=64, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    hf = tr.BertForMaskedLM(config).eval()
    ids = tokenizer().convert_tokens_to_ids
    with torch.no_grad():
        bert = hf.bert
        bert.embeddings.position_embeddings.weight.zero_()
        bert.embeddings.token_type_embeddings.weight.zero_()
        words = bert.embeddings.word_embeddings.weight
        words.normal_()
        words[tokenizer().mask_token_id] = 0.0  # a word at the mask is likely by what heads bring there alone
        words[:, 0], words[:, -2:] = 3.0, 0.0
        for layer, block in enumerate(bert.encoder.layer):
            block.intermediate.dense.weight.zero_()
            block.output.dense.weight.zero_()
            own, written = block.attention.self, block.attention.output.dense.weight
            own.value.weight.normal_(std=0.3)
            own.value.weight[:, 0] = 0.0  # what heads bring by chance is another thing in every context
            own.query.weight.normal_(std=0.2)
            own.key.weight.normal_(std=0.2)
            written.normal_(std=0.08)
            written[-2:] = 0
            for head, place in ((PREJUDICED, -1), (SENSIBLE, -2), (IDLE, None)):
                if not planted or layer != head.layer:
                    continue
                rows = slice(head.head * WIDTH, (head.head + 1) * WIDTH)
                own.query.weight[rows] = 0
                own.value.weight[rows] = 0
                own.value.weight[rows.start, 0] = 1.0
                written[:, rows] = 0
                if place is not None:
                    written[place, rows.start] = 1.5
        hf.cls.predictions.transform.dense.weight.copy_(torch.eye(size))
        hf.cls.predictions.transform.dense.bias.fill_(3.0)  # what is read lies where the activation is a straight line
        read = hf.cls.predictions.decoder.weight
        read.normal_(std=0.3)
        read[:, 0] = 0.0
        for kind in (STEREOTYPES, OTHERS, SENSELESS):
            read[ids(kind)] -= read[ids(kind)].mean(dim=0)  # no kind is likelier than another as a whole
        hf.cls.predictions.decoder.bias.zero_()
        if planted:
            read[ids(STEREOTYPES), -1] = 1.0
            read[ids(OTHERS), -1] = -1.0
            read[ids([*STEREOTYPES, *OTHERS]), -2] = 1.0
            read[ids(SENSELESS), -2] = -1.0
    return load((hf, tokenizer()))


def examples(count: int = 120, terms: int = 40, seed: int = 0, *, by_chance: bool = False):
    """Examples of StereoSet's file about so many target terms, in three categories; which word is which may be by chance."""
    random = np.random.default_rng(seed)
    words = sorted({*TEXT.split(), *TARGET.split()})
    made = []
    for at in range(count):
        around = random.choice(words, size=random.integers(4, 9))
        context = " ".join([*around[:2], "BLANK", *around[2:]])
        chosen = {
            label: str(random.choice(kinds))
            for label, kinds in (("stereotype", STEREOTYPES), ("anti-stereotype", OTHERS), ("unrelated", SENSELESS))
        }
        if by_chance:
            chosen = dict(zip(chosen, random.permutation(list(chosen.values())).tolist(), strict=True))
        term = at % terms
        made.append({
            "id": f"x{at}", "bias_type": ("gender", "job", "kind")[term % 3], "target": f"term {term}", "context": context,
            "sentences": [
                {"id": f"x{at}-{label}", "sentence": context.replace("BLANK", word), "gold_label": label}
                for label, word in chosen.items()
            ],
        })  # fmt: skip
    return made
