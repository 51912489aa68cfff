"""What the model expects, at its end and after each layer."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import BELROSE, BRIDLE, HOLTZMAN, MICHEL, NOSTALGEBRAIST

PREDICTIONS = (
    Definition(
        "prediction_probability",
        "prediction",
        "Probability of an outcome",
        "e^(z − max z) / Σ over all outcomes o of e^(zₒ − max z); of a label with a probability of its own, 1 / (1 + e^(−z))",
        "High: the model is sure. That does not make it right: probabilities of networks are often too high. z is the logit, and "
        "there is no temperature.",
        "1 / number of outcomes",
        "0 to 1",
        BRIDLE,
    ),
    Definition(
        "sampling",
        "prediction",
        "How a token is drawn",
        "P(o) ∝ e^(zₒ / T) among the likeliest outcomes that together have at least top-p; greedy: the outcome with largest z",
        "A temperature T below 1 makes likely tokens likelier, one above 1 unlikely ones; top-p leaves out the tail. Neither "
        "changes the probabilities that are shown.",
        "1 / number of outcomes, for a very high T",
        "0 to 1",
        HOLTZMAN,
    ),
    Definition(
        "prediction_difference",
        "prediction",
        "What the heads do for an outcome",
        "probability with the heads' output set to zero − probability",
        "Below 0: the heads make this outcome likelier. Zero is an output that the following layers rarely meet, so this "
        "overstates what the heads do; compare it with other heads of the same layers.",
        "0: heads that do nothing for this outcome",
        "−1 to 1",
        MICHEL,
    ),
    Definition(
        "lens_probability",
        "lens",
        "Probability of the final token",
        "softmax(unembed(state after layer l))ₜ, t the likeliest token of the last layer",
        "High from a layer on: the model has made up its mind there, as far as its own unembedding can read the state. States of "
        "early layers lie in other directions than the last ones, so a low value there says little.",
        "1 / number of tokens in the vocabulary",
        "0 to 1",
        f"{NOSTALGEBRAIST}; {BELROSE}",
    ),
    Definition(
        "lens_rank",
        "lens",
        "Rank of the final token",
        "log₁₀(1 + number of tokens with a larger logit than t after layer l)",
        "0: t is the likeliest token already; 3: a thousand tokens are likelier.",
        "log₁₀ of half the vocabulary",
        "0 to log₁₀ of the vocabulary",
        NOSTALGEBRAIST,
    ),
    Definition(
        "lens_entropy",
        "lens",
        "Entropy of a layer's prediction",
        "−Σ p ln p over all tokens",
        "Low: the layer would predict a few tokens. A layer may be sure of another token than the last one is.",
        "ln of the vocabulary, where all tokens are equally likely",
        "0 to ln of the vocabulary",
        NOSTALGEBRAIST,
    ),
)
