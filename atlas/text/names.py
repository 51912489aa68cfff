"""One set of names for the labels of differently trained spaCy pipelines, as data.

Relations: spaCy's English pipelines use the ClearNLP labels, most others Universal Dependencies (UD). A ClearNLP label is
renamed only where one UD relation means the same thing; `prep`, `pobj`, `attr`, `acomp`, `agent`, `oprd` and the like have no
such counterpart (UD attaches prepositions to their nouns and makes the predicate, not the copula, the head) and keep their names.
Sources: ClearNLP guidelines (Choi & Palmer 2012), https://universaldependencies.org/u/dep/.

Entities: OntoNotes 5 types (spaCy's English pipelines), CoNLL-2003 and UniversalNER types under the three common names and
MISC, which is CoNLL's name for nationalities, events, works and products. Times, amounts and numbers have no counterpart
outside OntoNotes and keep their names.
"""

from __future__ import annotations

RELATIONS = {
    "auxpass": "aux:pass",
    "csubjpass": "csubj:pass",
    "dative": "iobj",
    "dobj": "obj",
    "intj": "discourse",
    "neg": "advmod",
    "nn": "compound",
    "npadvmod": "obl:npmod",
    "nsubjpass": "nsubj:pass",
    "num": "nummod",
    "poss": "nmod:poss",
    "preconj": "cc:preconj",
    "predet": "det:predet",
    "prt": "compound:prt",
    "relcl": "acl:relcl",
    "ROOT": "root",
}
"""Label of a pipeline -> UD relation; other labels keep their names."""

ENTITIES = {
    "PERSON": "PER",
    "PERS": "PER",
    "GPE": "LOC",
    "FAC": "LOC",
    "LOCATION": "LOC",
    "ORGANIZATION": "ORG",
    "NORP": "MISC",
    "PRODUCT": "MISC",
    "EVENT": "MISC",
    "WORK_OF_ART": "MISC",
    "LAW": "MISC",
    "LANGUAGE": "MISC",
}
"""Type of a pipeline -> common type; other types (PER, LOC, ORG, MISC; DATE, MONEY, ...) keep their names."""
