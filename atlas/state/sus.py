"""The System Usability Scale: ten statements, each from 1 (strongly disagree) to 5 (strongly agree).

J. Brooke, "SUS: a 'quick and dirty' usability scale", in Usability Evaluation in Industry (Taylor & Francis, 1996), 189-194.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.errors import UnknownName

ITEMS = (
    "I think that I would like to use this system frequently",
    "I found the system unnecessarily complex",
    "I thought the system was easy to use",
    "I think that I would need the support of a technical person to be able to use this system",
    "I found the various functions in this system were well integrated",
    "I thought there was too much inconsistency in this system",
    "I would imagine that most people would learn to use this system very quickly",
    "I found the system very cumbersome to use",
    "I felt very confident using the system",
    "I needed to learn a lot of things before I could get going with this system",
)
"""The statements as they are published: in other words the scores could not be compared with those of other systems."""

POINTS = (1, 2, 3, 4, 5)

ENDS = "1: strongly disagree, 5: strongly agree."


def score(answers: Sequence[int]) -> float:
    """The score, 0 to 100: odd items give (answer - 1), even items (5 - answer), and the sum is multiplied by 2.5."""
    if len(answers) != len(ITEMS) or not all(type(answer) is int and answer in POINTS for answer in answers):
        msg = f"The questionnaire takes {len(ITEMS)} answers from {POINTS[0]} to {POINTS[-1]}, one a statement."
        raise UnknownName(msg)
    given = [answer - 1 if at % 2 == 0 else 5 - answer for at, answer in enumerate(answers)]
    return 2.5 * sum(given)
