"""What a model holds inside: the stream, queries and keys, hidden states, feed-forward units."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import (
    ELHAGE,
    ETHAYARAJH,
    GEVA21,
    GEVA22,
    KOBAYASHI,
    LI,
    MIKOLOV,
    MU,
    NOSTALGEBRAIST,
    PEARSON,
    PRESS,
    RAFFEL,
    SU,
    VASWANI,
    WANG,
    WANG_CHEN,
    YEH,
)

VECTORS = (
    Definition(
        "stream_length",
        "stream",
        "Length",
        "mean over tokens of ‖state‖, or of ‖what a block writes into it‖",
        "A block that writes little next to the stream changes little of what later layers read, unless they read just that "
        "direction. What a norm inside the block does is included; the norm after the addition of a post-norm model is not.",
        "none: compare the blocks and layers with each other",
        "0 and more",
        ELHAGE,
    ),
    Definition(
        "stream_cosine",
        "stream",
        "Cosine to the stream",
        "mean over tokens of (w · x) / (‖w‖ ‖x‖), w what a block writes, x the state it is added to",
        "Above 0: it makes what is there larger; near 0: it adds something else; below 0: it takes some of it away.",
        "0, give or take 1 / √width, for two directions that have nothing to do with each other",
        "−1 to 1",
        ELHAGE,
    ),
    Definition(
        "stream_change",
        "stream",
        "Change by add & norm",
        "mean over tokens of ‖out − in‖ / ‖in‖, in: the state before a block is added, out: after the addition and the norm, if "
        "any, that follows it",
        "0: the block leaves the state as it is; 1: the difference is as long as the state. In a post-norm model the norm's "
        "own scaling is part of the change.",
        "none: compare the blocks and layers with each other",
        "0 and more",
        "add & norm of the first Attention Atlas (pinthoz/attention-atlas)",
    ),
    Definition(
        "unit_activation",
        "unit",
        "Activation of a unit",
        "mean over tokens of aᵢ = f(pre-activation) (× the gate's other half in gated blocks); the unit writes aᵢ × its row of "
        "the second linear map",
        "Far from 0: the unit writes much at these tokens. What it promotes and suppresses are the tokens whose logits its row, "
        "with the sign of the activation, raises and lowers most through the final norm and the unembedding, as if it stood "
        "alone. Later layers may use what it writes for other things.",
        "none: compare the units with each other",
        "any",
        f"{GEVA21}; {GEVA22}",
    ),
    Definition(
        "units_firing",
        "unit",
        "Units that fire",
        "share of units with a pre-activation above 0; of gated blocks, that of the gate",
        "Low: the block is sparse, few units answer to a token. Gelu and silu let a little of a negative pre-activation through, "
        "which does not count as firing.",
        "0.5, for pre-activations that are as often above 0 as below",
        "0 to 1",
        LI,
    ),
    Definition(
        "units_holding",
        "unit",
        "Units that hold 90 %",
        "mean over tokens of the smallest share of units that together have 90 % of Σ |a|",
        "Low: a few units do nearly all of the work.",
        "0.9, where all units are equally active",
        "0 to 0.9",
        LI,
    ),
    Definition(
        "qk_cosine",
        "vectors",
        "Cosine of query and key",
        "(q · k) / (‖q‖ ‖k‖), both as the head compares them",
        "Near 1: the query asks for just what the key offers. A key that is long gets attention even where its direction fits "
        "badly, which the cosine does not show and the scaled product does.",
        "0, give or take 1 / √width, for two directions that have nothing to do with each other",
        "−1 to 1",
        VASWANI,
    ),
    Definition(
        "qk_scaled",
        "vectors",
        "Scaled product",
        "q · k × scaling (1 / √width in most models); c tanh(that / c) where the model caps its scores at c",
        "What the softmax of a row is made of, before a position bias and the mask. Only differences within a row count: what is "
        "added to all of a row changes no weight.",
        "equal in all of a row: uniform attention",
        "any",
        VASWANI,
    ),
    Definition(
        "score_part",
        "vectors",
        "Part of a score",
        "q · k × scaling = Σₐ Σᵦ qₐ · kᵦ × scaling, with q = Σₐ qₐ and k = Σᵦ kᵦ over those who wrote the stream before",
        "Above 0: together the two writers raise the score of this edge. Norms on the way are held at the sizes they divided by "
        "in this run, so it is exact for this run and no forecast of another. A part that all keys have alike changes no weight.",
        "0: who writes nothing adds nothing",
        "any",
        "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
    ),
    Definition(
        "direct_effect",
        "vectors",
        "Direct effect",
        "logit = Σ u · w over all writers: w is what one wrote into the stream, u the row of the outcome carried back to it, "
        "through the unembedding and through every norm (and activation behind the stream) at the factor by which it multiplied "
        "in this run; against another outcome: the difference of the two logits",
        "Above 0: it speaks for the outcome. The parts sum to what the model gives, so it is exact for this run; it is no "
        "forecast of a run without the writer, whose norms would divide by other sizes and whose later blocks would answer. What "
        "others make of it counts as theirs: a head can matter a great deal without a direct effect. p: the distance from the "
        "mean of what the head gives to random outcomes, in their standard deviations, held against those of all heads' random "
        "outcomes together; q: p corrected for the number of heads (Benjamini & Hochberg). The likeliest outcome was chosen for "
        "its large sum, which alone makes its parts a little larger than random ones.",
        "mean and 95 % range of what the same writer gives to 200 outcomes drawn at random (to random pairs, where two are "
        "compared); none for the few labels of a classifier",
        "any",
        f"{ELHAGE}; {NOSTALGEBRAIST}; {WANG}",
    ),
    Definition(
        "direct_effect_token",
        "vectors",
        "Direct effect by token",
        "u · w = Σₖ aₖ (u · Wₒ vₖ), aₖ the weight of token k in the head, vₖ its value, Wₒ the head's output matrix",
        "How much of what a head writes for the outcome comes from each token that it looks at; the sum is its direct effect. It "
        "says from which position the head read: by then the vector there holds more than its own word.",
        "none: compare the tokens with each other",
        "any",
        ELHAGE,
    ),
    Definition(
        "weight_without",
        "vectors",
        "Weight without a writer",
        "softmax over the row of (score − part of the writer in each key, or in the query)",
        "Far below the weight: the head looks there because of what this writer put into the keys, or into the query. It is "
        "taken out of one side alone, at the sizes of this run: what it changes in between and on the other side stays. Cutting "
        "it runs the block without it: at these sizes, which must give the same, and with the norms on the way computed again.",
        "the weight itself: the writer makes no difference",
        "0 to 1",
        "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
    ),
    Definition(
        "composition_share",
        "vectors",
        "Share of what a head reads",
        "queries and keys: Σ over edges of (centred score · centred part of the writer) / Σ centred score²; values: Σ over "
        "queries of (z · part of the writer in z) / Σ ‖z‖², z = Σⱼ pᵢⱼ vⱼ",
        "How much of the differences between a row's scores the writer made through the query or through the keys, and how much "
        "of what the head reads through its values; parts as in a score taken apart, centred over the keys of a row, because "
        "what all keys have alike changes no weight. The shares of a path sum to 1; one below 0 takes away. Norms are held at "
        "the sizes of this run. It is about this text, unlike the composition of weight matrices.",
        "the mean size of the shares of all earlier heads: what a head drawn at random has",
        "any; the shares of all writers sum to 1",
        ELHAGE,
    ),
    Definition(
        "head_reading",
        "vectors",
        "What a head writes, as tokens",
        "unembed(norm(vⱼ W_O)) − unembed(norm(0))",
        "High for a token: what the head writes for token j points to it. Where that is token j itself the head copies, where it "
        "is lowest the head suppresses a repetition. Norms make its size one of directions, not of how much the head does.",
        "rank of the token itself: half of the vocabulary, were the direction drawn at random",
        "any",
        ELHAGE,
    ),
    Definition(
        "vector_length",
        "vectors",
        "Length of a vector",
        "‖q‖, ‖k‖, ‖v‖",
        "A long query makes its row more focused, a long key is looked at or avoided more strongly, a short value passes little "
        "on: heads rest their attention on tokens with short values.",
        "none: compare the tokens with each other",
        "0 and more",
        KOBAYASHI,
    ),
    Definition(
        "joint_map",
        "vectors",
        "Queries and keys on one map",
        "first two principal components of all q and k together, their mean taken off",
        "A query close to a key points a similar way, as far as two axes can show it. Queries and keys often form two separate "
        "clouds; what decides is then the direction from cloud to cloud.",
        "the share of variance an axis shows: 1 / width each, were all directions alike",
        "any",
        YEH,
    ),
    Definition(
        "state_variance",
        "state",
        "Share of the variance",
        "square sum along a principal component / square sum of all states, both around their mean",
        "High: the picture shows most of how the states differ; low: tokens that are near each other in it may be far apart. One "
        "very long state, as of a token that others rest their attention on, takes most of the variance of a layer.",
        "at least 2 / min(width of the stream, n − 1) for both axes together, however even the directions of n tokens are",
        "0 to 1",
        PEARSON,
    ),
    Definition(
        "state_cosine",
        "state",
        "Mean cosine",
        "mean over all pairs of different tokens of a·b / (|a| |b|), a and b the states that enter a layer",
        "High: states point the same way whatever the token (anisotropy), so a high cosine between two tokens says little.",
        "0 where directions are even",
        "−1 / (n − 1) to 1",
        ETHAYARAJH,
    ),
    Definition(
        "state_cosine_centred",
        "state",
        "Mean cosine without the mean",
        "the same of a − m and b − m, m the mean state of the layer in this text",
        "Near 0 where the raw cosine is high: what the tokens have in common is one direction, and the rest tells them apart.",
        "about −1 / (n − 1): n vectors around their own mean point away from each other",
        "−1 / (n − 1) to 1",
        MU,
    ),
)

EMBEDDINGS = (
    Definition(
        "embedding_cosine",
        "embedding",
        "Cosine of two embeddings",
        "(a · b) / (‖a‖ ‖b‖), a and b the chosen vectors of two tokens before the first layer",
        "Near 1: to the first layer the two are nearly one, but for their lengths. Rows of many tables share a direction, so "
        "compare a cosine with those of the other pairs.",
        "0, give or take 1 / √width, for two directions that have nothing to do with each other",
        "−1 to 1",
        MIKOLOV,
    ),
    Definition(
        "embedding_length",
        "embedding",
        "Length of an embedding",
        "‖x‖, x the vector as it is added: scaled where the model scales it",
        "A short position vector beside a long token vector turns the sum little. Rare tokens often have short or unusual rows.",
        "none: compare the vectors and the tokens with each other",
        "0 and more",
        MIKOLOV,
    ),
    Definition(
        "embedding_map",
        "embedding",
        "Embeddings on a map",
        "first two principal components of the chosen vectors of this text's tokens, their mean taken off",
        "Tokens that lie close have similar vectors, as far as two axes can show it. Position vectors often form a curve.",
        "at least 2 / min(width, n − 1) of the variance for both axes together, however even the directions of n tokens are",
        "any",
        PEARSON,
    ),
    Definition(
        "nearest_cosine",
        "embedding",
        "Cosine to a row of the table",
        "(x · Eⱼ) / (‖x‖ ‖Eⱼ‖) over all rows j of the table of tokens but the token's own, the largest first",
        "What the model holds for alike before it has read any context: other forms of the word, words used like it, often also "
        "rare tokens that were hardly trained.",
        "about √(2 ln V / width) for the nearest of V rows without any structure",
        "−1 to 1",
        MIKOLOV,
    ),
    Definition(
        "position_cosine",
        "embedding",
        "Cosine of two position vectors",
        "(P[i] · P[j]) / (‖P[i]‖ ‖P[j]‖); by distance: mean over all i of those with j = i + d",
        "High near the diagonal and falling with the distance: the model can tell from the vectors how far apart two tokens are. "
        "Vectors of positions that training hardly saw have no order.",
        "0, give or take 1 / √width, for two directions that have nothing to do with each other",
        "−1 to 1",
        WANG_CHEN,
    ),
    Definition(
        "rotation_angle",
        "embedding",
        "Cosine of the angle",
        "cos(d · θᵢ), d the distance in tokens, θᵢ the angle by which pair i of a head's numbers turns per token, often "
        "base^(−2i / turning numbers)",
        "The share of pair i in q·k of two equal vectors d tokens apart, against the share at distance 0. A pair whose full turn "
        "takes longer than the text says hardly anything about positions there.",
        "1 at distance 0; the mean of all pairs falls with the distance, unevenly",
        "−1 to 1",
        SU,
    ),
    Definition(
        "distance_bias",
        "embedding",
        "Bias by distance",
        "b(head, key − query), added to the score before the softmax",
        "Differences count, because the softmax does not see a constant: a key whose bias is higher by 1 gets e times the "
        "attention that an equal one gets. T5 has one number for each of a few ranges of distances, ALiBi a slope a head.",
        "a head without a bias has the same number at all distances",
        "any",
        f"{RAFFEL}; {PRESS}",
    ),
)
"""The vectors before the first layer, and what says where a token stands."""
