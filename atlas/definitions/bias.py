"""What a detector flags, and the attention to it."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import BENJAMINI, FIRST_ATLAS

BIAS = (
    Definition(
        "bias_label",
        "bias",
        "Label of a word",
        "max(P(B), P(I)) at the first token of the word; flagged where it reaches the threshold of the label",
        "High: the detector reads the word as part of a generalisation, of unfair language or of a stereotype. A word may have "
        "several labels, each with a probability of its own. It is an opinion of the detector, learnt from labelled sentences.",
        "none: the card of the detector says how often it is right",
        "0 to 1",
        "Powers et al. 2024, GUS-Net: Social Bias Classification in Text with Generalizations, Unfairness, and Stereotypes",
    ),
    Definition(
        "attention_bias",
        "bias",
        "Attention to flagged tokens",
        "(Σᵢ Σⱼ flagged pᵢⱼ) / (Σᵢ sᵢ fᵢ / vᵢ); of the ordinary tokens that i may see, vᵢ is the number, fᵢ the number of "
        "flagged ones, sᵢ the attention they get together",
        "1: as evenly spread attention under the same mask, wherever the tokens stand; 2: twice as much. lo and hi: 95 % "
        "interval over resampled queries. A head that looks at a word need not use it for what the model says.",
        "as many other ordinary tokens of the text flagged at random, 999 times; two-sided p, q over all heads",
        "0 and above",
        f"ratio to uniform attention as in {FIRST_ATLAS} and row by row; {BENJAMINI}",
    ),
)
