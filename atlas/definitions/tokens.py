"""Where attention goes: links, sentences, one weight step by step, influence through all layers."""

from __future__ import annotations

from atlas.definitions.definition import UNIFORM, Definition
from atlas.definitions.references import ABNAR, CLARK, FERRANDO, FIRST_ATLAS, KOBAYASHI, MOHEBBI, VASWANI, VIG

TOKENS = (
    Definition(
        "flow_share",
        "plane",
        "Share of the attention shown",
        "Σ p over the drawn links / Σ p over all links; the strongest links of the whole picture, not of each query, are drawn "
        "until the share is reached (layer by layer: in each layer). Keys that are left out as sinks are in neither sum",
        "High with few links: a few links carry the attention. What is not drawn is not 0: it is spread over many weak links.",
        "where attention is spread evenly, a share of the links carries the same share of the attention",
        "0 to 1",
        f"the flow of {FIRST_ATLAS}, there cut at a weight of 0.04 whatever the length of the text",
    ),
    Definition(
        "flow_link",
        "plane",
        "Weight of a link",
        "p of its query i and key j; of several heads their mean, or the largest",
        "High: the query looks at this key. A weight says where a head looks, not how much of what it reads matters.",
        "spread evenly: 1/nᵢ, of several heads aggregated alike",
        "0 to 1",
        VIG,
    ),
    Definition(
        "word_weight",
        "plane",
        "Weight between words",
        "mean over tokens i of the query's word of Σ p over tokens j of the key's word; a token of no word (special tokens, "
        "white space) stands by itself; of several heads their mean, or the largest",
        "High: the word looks at this word. A row sums to 1 as between tokens. In a causal model a word of several tokens looks "
        "at itself for its earlier ones, never at a later word. A long word receives more because it has more tokens: compare "
        "with attention spread evenly.",
        "spread evenly: the same of 1/nᵢ at every key that token i may look at",
        "0 to 1",
        CLARK,
    ),
    Definition(
        "sentence_mass",
        "plane",
        "Attention between sentences",
        "mean over tokens i of the row's sentence of Σ p over tokens j of the column's sentence; of several heads their mean, or "
        "the largest",
        "High: a token of the row's sentence gives much of its attention to the column's sentence. Special tokens are in no "
        "sentence, so a row sums to less than 1. A long sentence receives more because it has more tokens: compare with chance.",
        UNIFORM,
        "0 to 1",
        f"inter-sentence attention of {FIRST_ATLAS}",
    ),
    Definition(
        "sentence_link",
        "plane",
        "Weight between two tokens of a pair",
        "in the block: p of its query i and key j, of several heads their mean, or the largest; in the list: the largest p of "
        "the pair of tokens among the heads shown, and the head it is in",
        "High: the query looks at this key. The largest of many heads is high for many links even where no head means anything "
        "by it: compare the single heads, and with chance.",
        "spread evenly: 1/nᵢ, where nᵢ is what query i may look at in that head",
        "0 to 1",
        VIG,
    ),
    Definition(
        "sentence_difference",
        "plane",
        "Above chance",
        "attention between sentences − the same under uniform attention",
        "Above 0: more than evenly spread attention would give; below 0: less.",
        "0 by construction",
        "−1 to 1",
        f"inter-sentence attention of {FIRST_ATLAS}",
    ),
    Definition(
        "attention_steps",
        "plane",
        "Weight, step by step",
        "s = Σ_d q_d k_d; × scaling; c · tanh(s / c) where scores are capped; + position bias; masked keys left out; weight = "
        "e^(s − max s) / (Σ over the keys of e^(s − max s) + e^(sink − max s) where the head has a learned sink)",
        "A weight says how much a key wins over the other keys of its row: the same score has another weight among other "
        "keys. q and k of a rotary model are those after the rotation.",
        "1 / number of keys that the query may look at",
        "0 to 1; a row sums to 1, less the sink",
        f"{VASWANI}; as BertViz's neuron view, for any architecture",
    ),
    Definition(
        "head_written",
        "plane",
        "What the head writes",
        "‖Σ_j weight_j v_j Wₒ‖; of one key ‖weight v Wₒ‖; Wₒ is the head's block of the output projection",
        "A key with a large weight and a small value moves little, as sinks do. Lengths of single keys do not add up to that of "
        "the sum, because their vectors may cancel. It is what is added to the stream, before any norm between both.",
        "none: compare heads and keys of the same model",
        "0 or more",
        KOBAYASHI,
    ),
    Definition(
        "influence_contribution",
        "influence",
        "Influence by contribution",
        "yᵢ = Σⱼ Tᵢ(xⱼ), Tᵢ(xⱼ) = Σₕ pₕᵢⱼ vₕⱼ Wₕ, with xᵢ and all biases in Tᵢ(xᵢ); share of j in i: max(0, ‖yᵢ‖₁ − "
        "‖yᵢ − Tᵢ(xⱼ)‖₁), divided by its sum over j; influence: the product of these matrices over the layers",
        "High: much of what the token is after the last layer came from there. y is the residual stream after attention; in a "
        "post-norm model after the norm too, which is taken as linear with the size it divided by in this run. Feed-forward "
        "blocks pass shares on. A heuristic of closeness, not a cause: ablate to be sure.",
        "each token's share of the others spread evenly over those it may look at",
        "0 to 1; sums to 1 over the input tokens",
        FERRANDO,
    ),
    Definition(
        "influence_part",
        "influence",
        "Share of an embedding or a feed-forward block",
        "y = Σ parts; share of a part t: max(0, ‖y‖₁ − ‖y − t‖₁), divided by its sum over the parts. Before the first layer "
        "the parts are the embeddings and the bias of their norm; after a layer the feed-forward block, and all that entered it",
        "High: much of the token at this level was written there, and by no other token. In a post-norm model the norm is "
        "taken as linear with the size it divided by in this run. Nearness of vectors, not an effect: ablate to be sure.",
        "of two parts of random directions and equal length: one half each",
        "0 to 1; sums to 1 over the parts of a token",
        FERRANDO,
    ),
    Definition(
        "influence_rollout",
        "influence",
        "Influence by attention rollout",
        "product over the layers of (P + I) / 2, P the mean weights of all heads of a layer; what a row of P leaves over stays "
        "with its token",
        "High: much attention leads there. It reads weights only: a token that is attended to and writes nothing counts in full, "
        "and the residual stream always counts one half.",
        "the same with uniform attention under the same masks",
        "0 to 1; sums to 1 over the input tokens",
        ABNAR,
    ),
    Definition(
        "influence_zeroing",
        "influence",
        "Influence by value zeroing",
        "product over the layers of C, without an identity; Cᵢⱼ = dᵢⱼ / Σⱼ dᵢⱼ, dᵢⱼ = 1 − cos(xᵢ, xᵢ without j): xᵢ the state "
        "after the layer, and the same when the value vectors of j are zero in all heads of this layer alone. In a decoder with "
        "cross-attention Σ is over its own tokens and those of the source",
        "High: without what the heads read of j, the token's state after the layer, with residual stream, norms and "
        "feed-forward block, points elsewhere. A share says nothing of how far: a token that hardly moves has shares that sum to "
        "1 too, and what the residual stream carries is in no share. One text for every token, so 256 tokens at most.",
        "each token's share of the others spread evenly over those it may look at",
        "0 to 1; sums to 1 over the input tokens",
        MOHEBBI,
    ),
)
