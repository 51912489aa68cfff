"""The causal test: the head that alone carries a label is found, nothing is in a random model, and numbers are those of plain runs."""

from __future__ import annotations

import copy
import functools

import torch
import transformers as tr

import atlas
from atlas.bias import causal_test, detect
from tests.attribution.planted import DECIDES, DECOY, planted
from tests.engine.families import TEXT, tokenizer

SENTENCE = "Women are too emotional to lead, and immigrants are unbelievably lazy."


def detector(hf):
    """A token classifier with the layers of another model, whose labels are those of a detector of biased language."""
    config = copy.deepcopy(hf.config)
    config.problem_type = "multi_label_classification"
    config.id2label, config.label2id = {0: "O", 1: "B-STEREO", 2: "I-STEREO"}, {"O": 0, "B-STEREO": 1, "I-STEREO": 2}
    made = tr.BertForTokenClassification(config).eval()
    made.bert.load_state_dict({k: v for k, v in hf.bert.state_dict().items() if not k.startswith("pooler")})
    return made


@functools.cache
def carried():
    """Labels come from what the head that decides brings, at tokens that are strong themselves; by none of the two alone."""
    hf = detector(planted().hf)
    with torch.no_grad():
        hf.classifier.weight.zero_()
        hf.classifier.bias.fill_(-5.0)
        hf.classifier.weight[1, 0], hf.classifier.weight[1, -1] = 0.6, 2.0
    return atlas.load((hf, tokenizer()))


if __name__ == "__main__":
    m = carried()
    t = m.trace(TEXT)
    print(detect(m, TEXT).words)
    print(t.vectors("hidden", "encoder", 3).to_numpy()[:, [0, -1]] if True else 0)
    for heads in (None, [DECIDES], [DECOY]):
        f = causal_test(t, heads, thresholds=0.5)
        print(f.table.round(3).to_string(), f.heads[:4], f.verdict.sentence)
