"""What is said of one number."""

from __future__ import annotations

from dataclasses import dataclass

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
        'embedding' (before the first layer),
        'similarity' (two heads),
        'attribution' (what tokens do for a target f, from their vectors x and a head's weights A),
        'effect' (of a head, or of tokens, on a target),
        'agreement' (of a head with an attribution),
        'bias' (labels of a detector, and attention to what they flag),
        'unit' (of a feed-forward block),
        'depth' (two successive layers),
        'corpus' (a head over many texts),
        'drill' (a head on texts that are made for it) and
        'difference' (two traces side by side).
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
