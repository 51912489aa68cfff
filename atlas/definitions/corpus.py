"""What is said of a head over many texts."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import BENJAMINI, CLARK, COHEN, CONFORMAL, OLSSON, WELCH

CORPUS = (
    Definition(
        "corpus_mean",
        "corpus",
        "Mean over texts",
        "mean over texts of a metric's value in each; interval: mean ± t · s / √n, s the standard deviation between texts",
        "A text counts once, however long it is, because the tokens of one text are no independent sample. The interval says how "
        "exact the mean is for texts like these, not how texts differ: the line and the box say that.",
        "the mean over the same texts for attention spread evenly over the visible tokens",
        "as the metric",
        "Student's interval, as in any textbook",
    ),
    Definition(
        "corpus_role",
        "corpus",
        "Role over many texts",
        "a role is the head's own where q ≤ 0.05 and even the lower end of the interval has an excess over 0.5; excess = (mean − "
        "uniform) / (1 − uniform); q: t-test by text of the mean against the uniform mean, one-sided, corrected for the heads of "
        "a kind (Benjamini-Hochberg)",
        "More than half of the way from chance to everything, over these texts. Below that, and beyond chance, it is said to be "
        "no more than beyond chance. With many texts almost anything is beyond chance, so read how far.",
        "the mean over the same texts for attention spread evenly over the visible tokens",
        "a name, or unnamed",
        f"{CLARK}; {BENJAMINI}",
    ),
    Definition(
        "corpus_near",
        "corpus",
        "Distance between heads",
        "√(mean over metrics of (a − b)²), each metric with mean 0 and standard deviation 1 over the heads",
        "0: the same figures over these texts; 1: one standard deviation apart in a typical metric. Heads with the same "
        "figures may look at different tokens and write different things. Metrics that hardly differ between heads, or are not "
        "known of all, are left out.",
        "√2 on average, for two heads with unrelated figures",
        "0 or more",
        "Euclidean distance of standardised values, as in any textbook",
    ),
    Definition(
        "corpus_appears",
        "corpus",
        "Appearance of a role",
        "the first checkpoint from which on the role is the head's own (see Role over many texts) at every later one",
        "Later than the first time where the head lost the role in between. Checkpoints between two that were measured are not "
        "known, so a role appears somewhere after the one before. Each checkpoint is corrected for its own heads, not for the "
        "number of checkpoints: the rule asks for all later ones.",
        "the mean over the same texts for attention spread evenly over the visible tokens, checkpoint by checkpoint",
        "a checkpoint, or none",
        f"{OLSSON}; {BENJAMINI}",
    ),
    Definition(
        "drift",
        "corpus",
        "Drift",
        "b − a, means over texts; q: Welch's t-test by text, two-sided, corrected for heads × metrics (Benjamini-Hochberg)",
        "Up to q = 0.05 the head does something else in b than in a. Where nothing differs, any figure is called drift in "
        "5 % of comparisons at most. Effect: the difference in standard deviations between texts. Texts of other lengths change "
        "most figures of most heads: see whether even attention changed as well.",
        "no difference",
        "effect: any number; 0.2 is called small, 0.8 large",
        f"{WELCH}; {BENJAMINI}; {COHEN}",
    ),
    Definition(
        "unusual",
        "corpus",
        "Unusual on this text",
        "(value here − mean over texts) / s, s the standard deviation between texts; p = 2 · (1 + number of texts as far out or "
        "farther on that side) / (n + 1), at most 1; q: corrected for the heads (Benjamini-Hochberg)",
        "A dot (q ≤ 0.05): the head does more or less of it here than over texts like those of the corpus. A text that comes "
        "from where they come from has its rank by chance, so p is exact for any distribution; it cannot be under 2 / (n + 1), "
        "and a corpus of few texts can have no dots. Texts in the same bin as this one count as farther out. A text of another "
        "length is unusual in most figures that depend on length: compare what even attention gives here and there.",
        "0; outside the middle 95 % of the texts at most 5 % of the figures of a text like them",
        "any number",
        f"{CONFORMAL}; {BENJAMINI}",
    ),
)
