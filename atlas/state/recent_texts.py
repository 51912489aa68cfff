"""The texts of this session that were read, the newest first, so that a reader can go back to one."""

from __future__ import annotations

from dataclasses import replace

import param

from atlas.state.inputs import SpansOf
from atlas.state.pipeline import Job, Pipeline

MOST = 12
"""Texts that are kept: as many as are seen without scrolling, and so many of the longest take some megabytes."""


class RecentTexts(param.Parameterized):
    """Which texts were read, and by which model. They are kept in the session alone."""

    jobs = param.Parameter(default=(), doc="The runs, the newest first, no text twice by one model.")

    def __init__(self, pipeline: Pipeline, **params: object) -> None:
        super().__init__(**params)
        self._pipeline = pipeline
        self._in_memory: set[str] = set()
        """Models that were handed over, which a link has to know."""
        assert pipeline.choice is not None
        pipeline.choice.param.watch(self._note_model, ["name_or_path", "in_memory"])
        pipeline.param.watch(self._note, "trace")

    def _note_model(self, *_: object) -> None:
        choice = self._pipeline.choice
        assert choice is not None
        if choice.in_memory:
            self._in_memory.add(choice.name_or_path)

    def _note(self, *_: object) -> None:
        job, trace = self._pipeline.shown, self._pipeline.trace
        if job is None or trace is None or not job.text:
            return
        if trace.live is None and job.model[0] in self._in_memory:
            return  # a recording, which no model reads again
        # What was switched off is no part of the text: it is run with what is switched off now.
        kept = replace(job, ablate=(), knock_out=(), regenerate=False)
        self.jobs = (kept, *(other for other in self.jobs if _question(other) != _question(kept)))[:MOST]

    def now(self) -> int:
        """The place of the text that is asked for; -1 where it is none of them."""
        asked = _question(self._pipeline.job())
        return next((at for at, job in enumerate(self.jobs) if _question(job) == asked), -1)

    def go_back(self, at: int) -> None:
        """Run a text again, by the model that read it."""
        if not 0 <= at < len(self.jobs):
            return
        job, pipeline = self.jobs[at], self._pipeline
        assert pipeline.choice is not None
        assert pipeline.input is not None
        name, revision, device, dtype = job.model
        if pipeline.choice.request() != job.model:
            pipeline.choose(name, in_memory=name in self._in_memory)
            pipeline.choice.param.update(revision=revision or "", device=device or "", dtype=dtype or "")
        pipeline.input.param.update(
            text=job.text, pair=job.pair or "", target=job.target or "", truncate=job.truncate, chat=job.chat,
            spans=SpansOf(job.text, job.target or "", job.spans),
        )  # fmt: skip
        pipeline.run()


def _question(job: Job) -> tuple[object, ...]:
    """What makes two runs the same to a reader."""
    return job.model, job.text, job.pair, job.target, job.truncate, job.chat
