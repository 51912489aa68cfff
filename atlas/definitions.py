"""What every number means, as data: the help texts of the app, the README's table and the tests all read it from here.

Notation: p is a weight, i a query (row), j a key (column), nᵢ the number of keys row i may see. Means over rows are over the
*informative* rows, those that may see two keys or more: the first row of a causal model is 1 whatever the head does. A mass
on a set of keys is averaged over the informative rows that may see at least one of them; NAME_rows says how many rows that
are. Masked cells are nowhere counted.
In a model with learned sinks a row sums to less than 1: masses and maxima are shares of all of its attention; entropy and
distance are those of the part that goes to tokens, scaled to sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

CLARK = "Clark, Khandelwal, Levy & Manning 2019, What Does BERT Look At?"
VIG = "Vig & Belinkov 2019, Analyzing the Structure of Attention in a Transformer Language Model"
VOITA = "Voita, Talbot, Moiseev, Sennrich & Titov 2019, Analyzing Multi-Head Self-Attention"
OLSSON = "Olsson et al. 2022, In-context Learning and Induction Heads"
WANG = "Wang, Variengien, Conmy, Shlegeris & Steinhardt 2022, Interpretability in the Wild"
XIAO = "Xiao, Tian, Chen, Han & Lewis 2023, Efficient Streaming Language Models with Attention Sinks"
GPT_OSS = "OpenAI 2025, gpt-oss-120b & gpt-oss-20b Model Card"
LIN = "Lin 1991, Divergence Measures Based on the Shannon Entropy"
WILSON = "Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference"
HOEFFDING = "Hoeffding 1963, Probability Inequalities for Sums of Bounded Random Variables"
BENJAMINI = "Benjamini & Hochberg 1995, Controlling the False Discovery Rate"
YEKUTIELI = "Benjamini & Yekutieli 2001, The Control of the False Discovery Rate under Dependency"
SAM = "Tusher, Tibshirani & Chu 2001, Significance Analysis of Microarrays"
HENNIG = "Hennig 2007, Cluster-wise Assessment of Cluster Stability"
KAUFMAN = "Kaufman & Rousseeuw 1990, Finding Groups in Data"
COHEN = "Cohen 1988, Statistical Power Analysis for the Behavioral Sciences"
HOLTZMAN = "Holtzman, Buys, Du, Forbes & Choi 2020, The Curious Case of Neural Text Degeneration"
BRIDLE = "Bridle 1990, Probabilistic Interpretation of Feedforward Classification Network Outputs"
NOSTALGEBRAIST = "nostalgebraist 2020, interpreting GPT: the logit lens"
BELROSE = "Belrose et al. 2023, Eliciting Latent Predictions from Transformers with the Tuned Lens"
ELHAGE = "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits"
ENDRES = "Endres & Schindelin 2003, A New Metric for Probability Distributions"
GEVA21 = "Geva, Schuster, Berant & Levy 2021, Transformer Feed-Forward Layers Are Key-Value Memories"
GEVA22 = "Geva, Caciularu, Wang & Goldberg 2022, Feed-Forward Layers Build Predictions by Promoting Concepts"
LI = "Li et al. 2023, The Lazy Neuron Phenomenon"
YEH = "Yeh et al. 2023, AttentionViz: A Global View of Transformer Attention"
MICHEL = "Michel, Levy & Neubig 2019, Are Sixteen Heads Really Better than One?"
VASWANI = "Vaswani et al. 2017, Attention Is All You Need"
KOBAYASHI = "Kobayashi, Kuribayashi, Yokoi & Inui 2020, Attention is Not Only a Weight"
FERRANDO = "Ferrando, Gállego & Costa-jussà 2022, Measuring the Mixing of Contextual Information in the Transformer"
ABNAR = "Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers"
ETHAYARAJH = "Ethayarajh 2019, How Contextual are Contextualized Word Representations?"
MU = "Mu & Viswanath 2018, All-but-the-Top: Simple and Effective Postprocessing for Word Representations"
PEARSON = "Pearson 1901, On Lines and Planes of Closest Fit to Systems of Points in Space"
FIRST_ATLAS = "the first Attention Atlas (pinthoz/attention-atlas), with masked cells left out"

AGREES = "another method for the same target: two methods that disagree cannot both be right"

UNIFORM = "the same statistic of attention spread evenly over the keys each row may see"


@dataclass(frozen=True, slots=True)
class Definition:
    """One number a reader meets.

    Attributes
    ----------
    name
        Column or key it stands under.
    group
        One of
        'metric' (a column of the head table),
        'role' (how metrics are read as roles),
        'cluster' (how heads are grouped),
        'relation' (syntax),
        'plane' (a matrix),
        'prediction' (an outcome of the model),
        'influence' (through all layers),
        'lens' (a layer's prediction),
        'stream' (what a layer writes),
        'state' (the tokens' vectors at a layer),
        'vectors' (queries, keys and values),
        'similarity' (two heads),
        'attribution' (what tokens do for a target f, from their vectors x and a head's weights A),
        'effect' (of a head on a target),
        'agreement' (of a head with an attribution),
        'bias' (labels of a detector, and attention to what they flag),
        'unit' (of a feed-forward block) and
        'depth' (two successive layers).
    title
        What the screen calls it.
    formula
        In plain Unicode.
    reading
        What a high value means, and what to beware of.
    chance
        What it is compared with.
    range
        The values it can take.
    reference
        Paper and year.
    costly
        True where it is computed only when asked for.
    needs
        What the text or the model must have, else it is NaN: 'one_axis' (queries and keys are the same tokens), 'anchor',
        'special', 'repeats', 'pos', 'entity', 'parse', 'punctuation', 'next_visible', 'far_keys'.
    """

    name: str
    group: str
    title: str
    formula: str
    reading: str
    chance: str
    range: str
    reference: str
    costly: bool = False
    needs: tuple[str, ...] = ()


def _metric(
    name: str,
    title: str,
    formula: str,
    reading: str,
    reference: str,
    *,
    chance: str = UNIFORM,
    limits: str = "0 to 1",
    costly: bool = False,
    needs: tuple[str, ...] = (),
) -> Definition:
    return Definition(name, "metric", title, formula, reading, chance, limits, reference, costly, needs)


_METRICS = (
    _metric(
        "entropy",
        "Entropy",
        "mean over i of −Σⱼ p ln p",
        "High: attention is spread over many keys; 0: each row looks at one key. In nats; grows with the length of the text, "
        "so compare it with its uniform value or take the normalised entropy.",
        CLARK,
        limits="0 to the mean of ln nᵢ",
    ),
    _metric(
        "entropy_norm",
        "Normalised entropy",
        "mean over i of (−Σⱼ p ln p) / ln nᵢ",
        "High: each row is as spread as its mask allows; 0: each row looks at one key. Comparable between lengths and between "
        "causal and bidirectional models, because each row is divided by its own maximum.",
        CLARK,
        chance="1 by construction",
    ),
    _metric(
        "confidence_max",
        "Confidence (largest)",
        "max over i, j of p",
        "High: at least one row is sure of one key. One row decides, and longer texts have more rows: read it with the mean.",
        FIRST_ATLAS,
    ),
    _metric(
        "confidence_mean",
        "Confidence (mean)",
        "mean over i of maxⱼ p",
        "High: rows are usually sure of one key. Heads that park their attention on a sink are confident as well.",
        VOITA,
    ),
    _metric(
        "sparsity",
        "Sparsity",
        "share of the visible cells with p < 1 / nᵢ",
        "High: most keys get less than an even share, a few get the rest.",
        FIRST_ATLAS,
        chance="0: uniform attention is nowhere below itself (differences within rounding do not count)",
    ),
    _metric(
        "uniformity",
        "Spread of the weights",
        "standard deviation of p over the visible cells",
        "High: weights differ a lot, so attention is far from even (the name is the first Atlas's and says the opposite). "
        "Falls with the length of the text. In a causal model uniform attention has some too, as its rows differ in length.",
        FIRST_ATLAS,
        limits="0 to 0.5",
    ),
    _metric(
        "median",
        "Median weight",
        "median of p over the visible cells of the informative rows",
        "High: the typical cell still gets something; near 0: a few cells have it all. Needs all weights sorted, so it is in "
        "the table only where the run kept its weights.",
        FIRST_ATLAS,
        costly=True,
    ),
    _metric(
        "balance",
        "[CLS] or BOS mass",
        "mean over i of the p at the anchor: a special token at position 0, else a special token named cls",
        "High: rows attend to [CLS] or the beginning-of-text token, often as a place to rest. Unknown where a text has neither.",
        CLARK,
        needs=("anchor",),
    ),
    _metric(
        "special",
        "Special-token mass",
        "mean over i of Σ p over [CLS], [SEP], BOS, EOS and the like",
        "High: attention goes to tokens that carry no text; over half of it is usual in the middle layers of BERT ([SEP]).",
        CLARK,
        needs=("special",),
    ),
    _metric(
        "punctuation",
        "Punctuation mass",
        "mean over i of Σ p over tokens made of punctuation or signs (Unicode P*, Sc, Sk, Sm)",
        "High: attention goes to full stops, commas, quotes; usual in BERT's last layers.",
        CLARK,
        needs=("punctuation",),
    ),
    _metric(
        "self",
        "Self",
        "mean over i of pᵢᵢ",
        "High: tokens attend to themselves.",
        CLARK,
        needs=("one_axis",),
    ),
    _metric(
        "previous",
        "Previous token",
        "mean over i of p at j = i − 1",
        "High: a previous-token head; such heads feed induction heads in causal models.",
        f"{CLARK}; {VOITA}",
        needs=("one_axis",),
    ),
    _metric(
        "next",
        "Next token",
        "mean over i of p at j = i + 1",
        "High: a next-token head. Causal models cannot have any.",
        f"{CLARK}; {VOITA}",
        needs=("one_axis", "next_visible"),
    ),
    _metric(
        "distance",
        "Mean distance",
        "mean over i of Σⱼ p |i − j|, in tokens",
        "High: attention reaches far. A causal sink at the first token makes it high without any content being fetched.",
        VIG,
        limits="0 to the largest distance in the text",
        needs=("one_axis",),
    ),
    _metric(
        "long_range",
        "Long-range mass",
        "mean over i of Σ p over |i − j| ≥ 5, rows that may see that far",
        "High: attention goes five tokens or more away. It is a share of the attention, not a mean weight, so it does not "
        "shrink with the length of the text; its uniform value grows with it.",
        FIRST_ATLAS,
        needs=("one_axis", "far_keys"),
    ),
    _metric(
        "induction",
        "Induction",
        "mean over i of Σ p over keys k ≤ i whose predecessor is the token of i, seen before: token(k − 1) = token(i), k − 1 < i",
        "High: where a token occurs again, the head looks at what followed it the last time. Special tokens are neither queries "
        "nor keys. Backwards only, in bidirectional models too. See on how many rows it rests: ordinary text repeats few words, "
        "and a text of random tokens said twice is the classical test.",
        OLSSON,
        needs=("one_axis", "repeats"),
    ),
    _metric(
        "duplicate",
        "Duplicate token",
        "mean over i of Σ p over keys j < i with token(j) = token(i)",
        "High: where a token occurs again, the head looks at its earlier occurrences. Special tokens are neither queries nor "
        "keys, and the first token of a causal text is no key, because it collects idle attention whatever it says.",
        WANG,
        needs=("one_axis", "repeats"),
    ),
    _metric(
        "function_words",
        "Function words",
        "mean over i of Σ p over tokens tagged ADP, AUX, CCONJ, DET, PART, PRON or SCONJ",
        "High: attention goes to words of grammar.",
        VIG,
        needs=("pos",),
    ),
    _metric(
        "content_words",
        "Content words",
        "mean over i of Σ p over tokens tagged NOUN, PROPN, VERB, ADJ, ADV or NUM",
        "High: attention goes to words of meaning. Most words are such: compare with the uniform value.",
        VIG,
        needs=("pos",),
    ),
    _metric(
        "entities",
        "Named entities",
        "mean over i of Σ p over tokens of named entities",
        "High: attention goes to names of people, places, organisations and the like.",
        VIG,
        needs=("entity",),
    ),
    _metric(
        "first_key",
        "First-key mass",
        "mean over i of p at j = 0",
        "High: rows rest their attention on the first token, whatever it says. This is the sink of causal models without a "
        "beginning-of-text token, such as GPT-2.",
        XIAO,
    ),
    _metric(
        "learned_sink",
        "Learned-sink mass",
        "1 − mean over i of Σⱼ p",
        "High: the head gives its attention to no token at all, but to a sink it has learned (gpt-oss). 0 in other models. What "
        "is left for tokens is small then, and so are all masses: they are shares of all of the attention.",
        GPT_OSS,
        chance="0: uniform attention here means over tokens",
    ),
)

_READINGS = (
    Definition(
        "excess",
        "role",
        "Above chance",
        "(value − uniform) / (1 − uniform)",
        "0: no more than evenly spread attention would give; 1: all attention goes there; below 0: the head avoids it.",
        "0 by construction",
        "at most 1; may be negative",
        "the form of chance-corrected agreement: Cohen 1960, A Coefficient of Agreement for Nominal Scales",
    ),
    Definition(
        "role_chance",
        "role",
        "Chance of a role",
        "exp(−rows · KL(value ‖ uniform)), or NAME_p where many rows share their keys; corrected for the number of heads "
        "(Benjamini-Hochberg)",
        "At most 0.05: chance rarely gives a head so much. The formula bounds the probability that rows whose attention has "
        "nothing to do with their targets give them this share. NAME_p: for classes of tokens, a bound of the probability that "
        "as many tokens drawn from the text get as much from this head; for [CLS], special tokens and the first token, "
        "how often a head rests as much on another place of the text; for long-range mass, the formula with each key's mass "
        "spread over the rows that see it in place of the uniform value. A class of one token is not tested: a head may prefer "
        "that token for any other reason.",
        UNIFORM,
        "0 to 1",
        f"{HOEFFDING}; {SAM}; {BENJAMINI}",
    ),
    Definition(
        "main_role",
        "role",
        "Main role",
        "the role with excess > 0.5, five rows or more and a corrected chance of 0.05 or less; of several, the one with the "
        "lowest uniform value; of none: unnamed",
        "More than half of the way from chance to everything, and unlikely by chance. 'Too few rows': no role rests on five "
        "rows, as in a text of five words or with one token selected. The role is what the head did in this text, "
        "not what it is for.",
        UNIFORM,
        "a name, unnamed, too few rows or N/A",
        CLARK,
    ),
    Definition(
        "quantile",
        "role",
        "Rank among the heads",
        "share of the other heads with a smaller value, equal ones counted by half",
        "High: few heads of this model and text do it more. Says nothing about how much any of them does.",
        "0.5 on average",
        "0 to 1",
        "mid-ranks, as in any rank test",
    ),
    Definition(
        "role_z",
        "role",
        "Standing in a role (z)",
        "(excess − mean) / standard deviation of the excess, over all heads of the kind, or over those of the layer",
        "How far a head is from the other heads of this model and text, not how much it does: a head may be far above the others "
        "and still give the role little. Below 0: less than most. Among n heads no z exceeds √(n − 1). Unknown where the role "
        "rests on fewer than five rows, among fewer than three heads, and where the heads are alike: standard deviation of value "
        "− uniform under 0.01.",
        "0 on average; beside it, how many heads reach the highest z in one of their roles",
        "−√(n − 1) to √(n − 1)",
        "standard scores, as in any textbook; the roles are those of the first Attention Atlas (pinthoz/attention-atlas)",
    ),
    Definition(
        "cluster",
        "cluster",
        "Cluster",
        "k-means over metrics with mean 0 and standard deviation 1; k from 2 to 8 by the mean silhouette",
        "Heads that behave alike on this text. There is one group where the mean silhouette is 0.25 or less, or where more than "
        "5 % of single clouds of the same covariance and skewness divide as well. Metrics that hardly differ (shares: standard "
        "deviation under 0.01), that rest on fewer than five rows, or that say the same as another are left out.",
        "39 single clouds, divided just as freely",
        "a group",
        KAUFMAN,
    ),
    Definition(
        "stability",
        "cluster",
        "Stability of a cluster",
        "mean over resamples of the largest |A and B| / |A or B|, A the cluster's heads that were drawn, B a cluster of the "
        "resample",
        "1: the cluster comes back whenever the heads are drawn again with replacement and divided into as many clusters. The "
        "interval is that of the mean of 100 resamples (300 where the interval would contain 0.75); it says how exact the number "
        "is, not how another model or text would come out.",
        "0.75, from which Hennig takes a cluster for real; the lower end of the interval has to reach it",
        "0 to 1",
        HENNIG,
    ),
    Definition(
        "cluster_name",
        "cluster",
        "Name of a cluster",
        "the metric with the largest difference from the other heads, if |difference| ≥ 0.8 standard deviations, q ≤ 0.05, "
        "(mean − uniform) / (1 − uniform) ≥ 0.25 (for little of a metric 1 − mean / uniform, for much distance mean / uniform − "
        "1) and q against chance ≤ 0.05; else: unnamed",
        "The cluster does this clearly more, or less, than the other heads and than chance. 'Focused': half of the possible "
        "entropy or less, and by a quarter less than the other heads; 'broad': three quarters or more, and by a quarter more: "
        "near even attention, which is nothing beyond chance. 'Unnamed' says that no name was earned, not that its heads do "
        "nothing.",
        UNIFORM,
        "a name or unnamed",
        f"{COHEN}; {YEKUTIELI}",
    ),
    Definition(
        "relation_accuracy",
        "relation",
        "Syntactic relation",
        "share of dependents whose most attended word (or the word that attends to them most) is their syntactic head",
        "High: the head points along this relation. Word level, self excluded; n, a 95 % Wilson interval and the best fixed "
        "offset stand beside it. The best of many heads is also the luckiest: confirm it on other sentences.",
        "always answering with the word at the relation's most frequent offset",
        "0 to 1",
        f"{CLARK}; {WILSON}",
        needs=("parse", "one_axis"),
    ),
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
        "relation_chance",
        "relation",
        "Chance of a relation",
        "Σ from k = hits to n of (n over k) bᵏ (1 − b)ⁿ⁻ᵏ, b the accuracy of the best fixed offset; corrected for the heads and "
        "both directions of a relation (Benjamini-Hochberg)",
        "At most 0.05: the best fixed offset is rarely right so often. The offset is the best one for this very text, which "
        "makes the test strict. Arcs are taken as independent. Not tested under five arcs.",
        "always answering with the word at the relation's most frequent offset",
        "0 to 1",
        f"the exact binomial test; {CLARK}; {BENJAMINI}",
        needs=("parse", "one_axis"),
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
    Definition(
        "head_similarity",
        "similarity",
        "Similarity of where two heads look",
        "1 − √(mean over i of ½ Σⱼ a log₂(a / m) + ½ Σⱼ b log₂(b / m)), m = (a + b) / 2; a, b: row i of the two heads",
        "1: the same pattern; 0: they never look at the same key. Only rows that see two keys or more count. Heads that rest on "
        "the first token are alike whatever else they do, and so are two broad heads: on this text they do the same, which is "
        "not to say that they are for the same.",
        "the mean of 200 random pairs of heads of different layers, the weights of one of them shuffled within each row",
        "0 to 1",
        f"{ENDRES}; heads compared by this divergence in {CLARK}",
    ),
    Definition(
        "write_cosine",
        "similarity",
        "Cosine of what two heads write",
        "mean over i of (w · u) / (‖w‖ ‖u‖), w, u: what the heads add to the stream at token i",
        "Near 1: both move the state the same way; below 0: one takes back what the other writes. Heads may look at the same "
        "tokens and write other things, and the other way round.",
        "the mean of 200 random pairs of heads of different layers, each at another token",
        "−1 to 1",
        ELHAGE,
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
        "weight_without",
        "vectors",
        "Weight without a writer",
        "softmax over the row of (score − part of the writer in each key)",
        "Far below the weight: the head looks there because of what this writer put into the keys. It is taken out of the "
        "keys alone, at the sizes of this run: what it changes in between and in the query stays.",
        "the weight itself: the writer makes no difference",
        "0 to 1",
        "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
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
        "depth_change",
        "depth",
        "Change across depth",
        "mean over i of ½ Σⱼ a log₂(a / m) + ½ Σⱼ b log₂(b / m), m = (a + b) / 2; a, b: row i of the mean pattern of all heads "
        "of a layer and of the layer before it",
        "High: a layer attends to other tokens than the layer before it does (Jensen-Shannon divergence in bits); 0: both have "
        "the same mean pattern. Rows are scaled to sum to 1. Heads that differ within a layer are averaged before, so two layers "
        "may have the same mean and no head in common. The first layer has no value.",
        "0 where both layers have the same masks, else the divergence of attention spread evenly under each",
        "0 to 1",
        f"{LIN}; between layers as in {FIRST_ATLAS}",
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


def _attribution(name: str, title: str, formula: str, reading: str, reference: str, limits: str) -> Definition:
    return Definition(name, "attribution", title, formula, reading, AGREES, limits, reference)


_ATTRIBUTIONS = (
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
)

_HEAD_NULL = "of a random head: not worked out; the median and the quartiles of all heads stand beside it"

_FAITHFULNESS = (
    Definition(
        "head_effect",
        "effect",
        "Effect on the target",
        "f(x) − f(x with the output of the head replaced); f: the logit of the outcome, minus that of another if one is chosen",
        "Above 0: the head speaks for the target, which is lower without it; below 0: against it. Other heads may take over the "
        "work of a missing one, so an effect near 0 does not say that a head does nothing. It hangs on what the output is "
        "replaced by: an output of zeros may be unusual for the model, a mean or one from another text less so.",
        _HEAD_NULL,
        "any number",
        MICHEL,
    ),
    Definition(
        "head_effect_log_probability",
        "effect",
        "Effect on the log-probability",
        "ln p(outcome) before − after",
        "As the effect on the target, but other outcomes count: it is above 0 also where the head keeps the others down.",
        _HEAD_NULL,
        "any number",
        MICHEL,
    ),
    Definition(
        "head_effect_kl",
        "effect",
        "Change of the whole output",
        "KL(p ‖ q) = Σ p(o) ln (p(o) / q(o)) over all outcomes o, in nats; p as it is, q with the head replaced. Labels that "
        "are each yes or no are summed",
        "High: without the head the model predicts something else at this position, whatever the outcome. It has no sign.",
        _HEAD_NULL,
        "0 and above",
        "Kullback & Leibler 1951, On Information and Sufficiency",
    ),
    Definition(
        "head_agreement",
        "agreement",
        "Agreement ρ",
        "Spearman's correlation over tokens j of (mean over queries i of Aᵢⱼ) and |score of j|",
        "Above 0: the head attends to tokens that matter by the method; below 0: to the others. p is the share of permutations "
        "of the scores with a ρ as far from 0, q is p corrected for the number of heads (Benjamini & Hochberg 1995). Attention "
        "may agree and not be the reason.",
        "0 of a random head, by permutation",
        "−1 to 1",
        "Jain & Wallace 2019, Attention is not Explanation, who take Kendall's τ",
    ),
)

DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {item.name: item for item in (*_METRICS, *_READINGS, *_ATTRIBUTIONS, *_FAITHFULNESS)}
)
"""Every definition by name, in the order in which a reader meets them."""
