"""The model's own numbers, by plain transformers and torch on a second copy: no code of Atlas."""

from __future__ import annotations

import functools

import torch
import transformers as tr

from atlas.engine.loading.load import load
from tests.engine.families import BY_NAME, TARGET, TEXT, VOCABULARY, loaded, tokenizer

TINY = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
        "max_position_embeddings": 64, "num_labels": 3}  # fmt: skip

CLASSIFIERS = {
    "classifier": lambda: tr.BertForSequenceClassification(tr.BertConfig(**TINY)),
    "token labels": lambda: tr.BertForTokenClassification(tr.BertConfig(**TINY | {"problem_type": "multi_label_classification"})),
}

NAMES = ["BERT", "GPT-2", "Llama", "T5", *CLASSIFIERS]


def hf_of(name):
    """A model of a family, with large weights; each call makes another copy with the same weights."""
    if name not in CLASSIFIERS:
        return BY_NAME[name].model()
    torch.manual_seed(1)
    made = CLASSIFIERS[name]().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    return made


@functools.cache
def model(name):
    """The model as Atlas has it."""
    return loaded(name) if name not in CLASSIFIERS else load((hf_of(name), tokenizer()))


@functools.cache
def traced(name, text=TEXT):
    """The text through the model."""
    return model(name).trace(text, target=TARGET if "cross" in model(name).kinds else None)


@functools.cache
def plain(name):
    """A copy that runs transformers' own eager attention."""
    hf = hf_of(name)
    hf.set_attn_implementation("eager")
    return hf


def vectors(name, ids=None):
    """The token vectors of every side, as leaves: of the text, or of one id everywhere."""
    hf, trace = plain(name), traced(name)
    found = []
    for side in trace.token_tables:
        own = torch.tensor(trace.tokens(side)["id"].tolist())[None]
        found.append(hf.get_input_embeddings()(own if ids is None else torch.full_like(own, ids)).detach().requires_grad_())
    return found


def forward(name, given, **options):
    """Outputs of the model on token vectors."""
    names = ("inputs_embeds", "decoder_inputs_embeds")
    return plain(name)(**dict(zip(names, given, strict=False)), **options)


def value(name, given, target, **options):
    """(row,) the target's number, by its definition."""
    logits = forward(name, given, **options).logits
    logits = logits if logits.ndim == 2 else logits[:, target.position]
    if target.of == "probability":
        logits = logits.sigmoid() if plain(name).config.problem_type else logits.softmax(-1)
    found = logits[:, target.outcome_id]
    return found if target.against_id is None else found - logits[:, target.against_id]


def eager(name, target):
    """Weights of transformers' own attention with their gradients: kind -> [(head, query, key) pairs]."""
    given = vectors(name)
    out = forward(name, given, output_attentions=True)
    kinds = {"encoder_attentions": "encoder", "decoder_attentions": "decoder", "cross_attentions": "cross"}
    lists = {kind: list(getattr(out, key)) for key, kind in kinds.items() if getattr(out, key, None)}
    lists = lists or {traced(name).kinds[0]: list(out.attentions)}
    logits = out.logits if out.logits.ndim == 2 else out.logits[:, target.position]
    flat = [weights for of_kind in lists.values() for weights in of_kind]
    gradients = iter(torch.autograd.grad(logits[0, target.outcome_id], flat, materialize_grads=True))
    return {
        kind: [(w[0].detach().double().numpy(), next(gradients)[0].double().numpy()) for w in of_kind]
        for kind, of_kind in lists.items()
    }
