"""How heads are read: roles, clusters, syntactic relations, likeness."""

from __future__ import annotations

from atlas.definitions.definition import UNIFORM, Definition
from atlas.definitions.references import (
    BENJAMINI,
    CLARK,
    COHEN,
    ELHAGE,
    ENDRES,
    FIRST_ATLAS,
    HENNIG,
    HOEFFDING,
    KAUFMAN,
    LIN,
    SAM,
    WILSON,
    YEKUTIELI,
)

HEADS = (
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
        "shared_trait",
        "cluster",
        "Trait of the selected heads",
        "z = (mean of the selected heads − mean of all heads) / standard deviation of all heads",
        "Far from 0: the selected heads have more, or less, of the metric than the heads of their kind. The interval says how "
        "much the mean hangs on single heads of the selection (bootstrap over the selected heads).",
        "the 95 % of random sets with as many heads of the same layers",
        "about −3 to 3; more for a few heads with much of a rare thing",
        f"{COHEN}; bootstrap: Efron 1979",
    ),
    Definition(
        "shared_trait_chance",
        "cluster",
        "Chance of a trait",
        "share of 999 random sets with as many heads of each layer whose mean is as far from the mean of such sets",
        "q ≤ 0.05: random heads of the same layers rarely have so much or so little of it. q is p corrected over the metrics "
        "(Benjamini-Hochberg). Not known where all heads of the layers are selected.",
        "uniform between 0 and 1 for heads drawn at random",
        "0.001 to 1",
        BENJAMINI,
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
        "Heads that behave alike on this text, or over the texts of a corpus. There is one group where the mean silhouette is "
        "0.25 or less, or where more than 5 % of single clouds of the same covariance and skewness divide as well. Metrics that "
        "hardly differ (shares: standard deviation under 0.01), that rest on fewer than five rows, or that say the same as "
        "another are left out.",
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
)
