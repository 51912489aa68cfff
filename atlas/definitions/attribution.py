"""What tokens do for a target, by method."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import FERRANDO, MOHEBBI

AGREES = "another method for the same target: two methods that disagree cannot both be right"


def _attribution(name: str, title: str, formula: str, reading: str, reference: str, limits: str) -> Definition:
    return Definition(name, "attribution", title, formula, reading, AGREES, limits, reference)


ATTRIBUTIONS = (
    _attribution(
        "saliency",
        "Gradient (saliency)",
        "‖∂f/∂xⱼ‖₂",
        "High: a small change of the token's vector changes the target much. It has no sign: a token that speaks against the "
        "target can have as long a gradient as one that speaks for it.",
        "Simonyan, Vedaldi & Zisserman 2014, Deep Inside Convolutional Networks",
        "0 and above",
    ),
    _attribution(
        "input_x_gradient",
        "Input × gradient",
        "xⱼ · ∂f/∂xⱼ",
        "Above 0: the token speaks for the target; below 0: against it, as far as the target is linear around the text.",
        "Shrikumar, Greenside, Shcherbina & Kundaje 2016, Not Just a Black Box",
        "any number",
    ),
    _attribution(
        "integrated_gradients",
        "Integrated gradients",
        "(xⱼ − bⱼ) · ∫₀¹ ∂f(b + α(x − b))/∂xⱼ dα",
        "Above 0: the token speaks for the target; below 0: against it. All scores add up to f(x) − f(b), the difference from "
        "the baseline b, and the gap says how far they miss it. What a score means depends on the baseline.",
        "Sundararajan, Taly & Yan 2017, Axiomatic Attribution for Deep Networks",
        "any number",
    ),
    _attribution(
        "attention_x_gradient",
        "Attention × gradient",
        "Σ over layers, heads and i of Aᵢⱼ ∂f/∂Aᵢⱼ",
        "Above 0: more attention to the token raises the target. It counts all layers at once, and at a higher layer a position "
        "stands for more than its own word.",
        "Barkan et al. 2021, Grad-SAM, without its cut at zero",
        "any number",
    ),
    _attribution(
        "gradient_rollout",
        "Gradient-weighted rollout",
        "R ← R + (mean over heads of max(0, A ⊙ ∂f/∂A)) R, layer by layer; the row of R − I that the target is read from",
        "High: attention that raises the target leads back to the token. Attention that lowers the target is cut off, so a score "
        "has no sign.",
        "Chefer, Gur & Wolf 2021, Generic Attention-model Explainability",
        "0 and above",
    ),
    _attribution(
        "raw_attention",
        "Attention of the last layer",
        "mean over heads of Aᵢⱼ in the last layer, at the row i that the target is read from",
        "High: the last layer looks at this position. By then a position holds much of its neighbours, so this says little of "
        "words, and nothing of the outcome: it is the same for every outcome at a position.",
        "Jain & Wallace 2019, Attention is not Explanation",
        "0 to 1",
    ),
    _attribution(
        "rollout",
        "Attention rollout",
        "row i of the product over layers of (mean over heads of A + I) / 2",
        "High: attention leads back to the token through all layers, with the residual stream as half of every step. It is the "
        "same for every outcome at a position.",
        "Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers",
        "0 to 1",
    ),
    _attribution(
        "contribution_rollout",
        "Contribution rollout",
        "row i of the product over layers of C; Cᵢⱼ: share of j in i as in “Influence by contribution” (ALTI)",
        "High: through all layers, much of the states that the target is read from was written for the token by heads, or is the "
        "token's own. Unlike attention rollout it counts what is moved, and by how much it outweighs the residual stream. It is "
        "the same for every outcome at a position.",
        FERRANDO,
        "0 to 1",
    ),
    _attribution(
        "value_zeroing",
        "Value zeroing",
        "row i of the product over layers of C; Cᵢⱼ = dᵢⱼ / Σⱼ dᵢⱼ, dᵢⱼ = 1 − cos(xᵢ, xᵢ without j), xᵢ the state after the "
        "layer; without j: the value vectors of j are zero in all heads of the layer",
        "High: through all layers, the states that the target is read from would point elsewhere without what heads read of the "
        "token. It is a true intervention in one layer at a time; what the residual stream carries is in no share, and it is the "
        "same for every outcome at a position.",
        MOHEBBI,
        "0 to 1",
    ),
    _attribution(
        "attention_flow",
        "Attention flow",
        "largest flow from the position that the target is read from down to token j; the capacity of a link of a layer is its "
        "entry of (mean over heads of A + I) / 2",
        "High: as much could have come from the token as the links on the way let through. Each token has a flow of its own, so "
        "flows do not sum to 1, and many reach the bound of the first layer: all that looks at the token there. It is the same "
        "for every outcome at a position.",
        "Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers (who divide the flows by their sum)",
        "0 to 1",
    ),
    _attribution(
        "value_norms",
        "Value-weighted attention",
        "mean over heads of Aᵢⱼ ‖vⱼ W_O‖ in the last layer, at the row i that the target is read from",
        "High: the last layer moves much from this position. A head that parks its attention on an empty value moves nothing.",
        "Kobayashi, Kuribayashi, Yokoi & Inui 2020, Attention is Not Only a Weight",
        "0 and above",
    ),
    _attribution(
        "occlusion",
        "Occlusion",
        "f(x) − f(x without token j)",
        "Above 0: without the token the target is lower. It is a true intervention, but the text without the token may be "
        "unusual for the model, and of two tokens that can stand in for each other both get little.",
        "Li, Monroe & Jurafsky 2016, Understanding Neural Networks through Representation Erasure",
        "any number",
    ),
    Definition(
        "word_score",
        "effect",
        "Score of a word",
        "Σ of the scores of its tokens; a token of no word stands by itself",
        "Of input × gradient, integrated gradients and attention × gradient, whose scores add up, it is the word's own part; of "
        "rollouts and of attention what leads to any of its tokens. Gradient (saliency), attention flow, value zeroing and "
        "occlusion measure every token alone: there it is the sum of such measures, not what one of the whole word would give, "
        "and a word of more tokens has more of them. The position that is explained stays a token.",
        AGREES,
        "as the method's",
        "sums over the tokens of a word, as Clark et al. 2019 sum attention to it",
    ),
)
