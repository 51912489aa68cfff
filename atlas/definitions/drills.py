"""What heads are drilled in: scores on texts that the package makes itself."""

from __future__ import annotations

from atlas.definitions.definition import Definition
from atlas.definitions.references import BENJAMINI, GOULD, OLSSON, VOITA, WANG, WU

SHUFFLED = "what the same head scores on the same drills shuffled; tested by drill (paired t, one-sided), q over the heads"

HALF = "It has it where q ≤ 0.05 and the whole interval is more than half of the way from the shuffled drills to everything."


def _drill(name: str, title: str, formula: str, reading: str, reference: str) -> Definition:
    return Definition(f"drill_{name}", "drill", title, formula, reading, SHUFFLED, "0 to 1", f"{reference}; {BENJAMINI}")


DRILLS = (
    _drill(
        "previous",
        "Previous token (drill)",
        "mean over i of p(i, i − 1) in random tokens; mean over drills",
        f"High: the head looks at the token before, whatever it is. Shuffled: at another visible token, drawn at random. {HALF}",
        VOITA,
    ),
    _drill(
        "duplicate",
        "Duplicate token (drill)",
        "mean over i of p(i, i − n) in the second copy of n random tokens said twice; mean over drills of different n",
        "High: a token that comes again looks at itself before. Shuffled: the second copy is in another order, so that no token "
        f"comes again at that distance. {HALF}",
        WANG,
    ),
    _drill(
        "induction",
        "Induction (drill)",
        "mean over i of p(i, i − n + 1) in the second copy of n random tokens said twice; mean over drills of different n",
        "High: a token that comes again looks at what followed it before. Shuffled: the second copy is in another order, so "
        f"that a head that only looks as far back scores as much. {HALF}",
        OLSSON,
    ),
    _drill(
        "retrieval",
        "Retrieval (drill)",
        "share of the tokens of a planted fact for which the key with the largest p is that token of the fact, while it is "
        "written; mean over drills",
        "High: while the model answers, the head looks at what it copies. The answer is given token by token, so that heads of a "
        "model that answers wrongly are measured as well (Wu et al. let the model write it); a masked model has masks there. "
        "Shuffled: the tokens before the question in random order. A retrieval head where q ≤ 0.05 and the whole interval is at "
        "0.1 or more, the threshold of Wu et al.",
        WU,
    ),
    _drill(
        "successor",
        "Successor (drill)",
        "share of the words w of ordered lists (days, months, letters, numbers) for which what the head writes, looking at w, "
        "raises the logit of the next word most among the words of the list but w",
        "High: the head counts on. Not of attention: the token stands alone, its value goes through the output projection, the "
        "final norm and the unembedding (Gould et al. take the first feed-forward block's output in place of the layer's own "
        f"state). Shuffled: the word that follows in a random order of the list. {HALF}",
        GOULD,
    ),
)
