"""Words, sentences and grammar, aligned to tokens by character offsets."""

from __future__ import annotations

from atlas.text.align import token_table
from atlas.text.annotate import Annotated, annotate
from atlas.text.checks import check_text
from atlas.text.pipelines import Pipeline, find_pipeline
from atlas.text.segment import words
from atlas.text.words import Units, WordAttention, word_attention, word_units

__all__ = [
    "Annotated",
    "Pipeline",
    "Units",
    "WordAttention",
    "annotate",
    "check_text",
    "find_pipeline",
    "token_table",
    "word_attention",
    "word_units",
    "words",
]
