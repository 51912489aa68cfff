"""Build the embedded models: `python -m assets.recipes.build [--only NAME] [--minutes M] [--tokens N] [--device D] [--work DIR]`.

Runs in turns: each model trains for its share of minutes and goes on from its checkpoint when its turn comes again, until all
are done, the minutes are used up, or SIGTERM asks for a checkpoint and an end. Starting it again resumes.
"""

from __future__ import annotations

import argparse
import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers

from . import causal_batches, en_atlas, gus_mini, language_models, masked_batches, mood_mini, t5_dates
from .places import work_folder
from .training import Outcome, Plan

DEFAULT_THREADS = 2


@dataclass(frozen=True)
class Turn:
    """One model's way of training a stretch, its plan, how many tokens a step reads, and minutes a turn (None: until done).

    `after` names the model it is built on: its turn comes when that one is finished.
    """

    train: Callable[..., Outcome]
    plan: Plan
    tokens_per_step: int
    minutes: float | None
    reads_text: bool = False
    after: str | None = None


TURNS: dict[str, Turn] = {
    language_models.GPT: Turn(
        language_models.train_gpt, language_models.GPT_PLAN, causal_batches.TOKENS_PER_STEP, 60.0, reads_text=True
    ),
    t5_dates.NAME: Turn(t5_dates.train_stretch, t5_dates.PLAN, t5_dates.BATCH * 30, None),
    language_models.BERT: Turn(
        language_models.train_bert, language_models.BERT_PLAN, masked_batches.TOKENS_PER_STEP, 60.0, reads_text=True
    ),
    gus_mini.NAME: Turn(gus_mini.train_stretch, gus_mini.PLAN, gus_mini.BATCH * 20, None, after=language_models.BERT),
    mood_mini.NAME: Turn(mood_mini.train_stretch, mood_mini.PLAN, mood_mini.BATCH * 12, None, after=language_models.BERT),
    en_atlas.NAME: Turn(en_atlas.train_pipeline, en_atlas.PLAN, en_atlas.WORDS_PER_STEP, None),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=sorted(TURNS), action="append", help="build this model only (may be repeated)")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes; the next call goes on from there")
    parser.add_argument("--tokens", type=float, help="tokens each language model learns from, instead of the recipe's own number")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--text", type=Path, nargs="+", help="text files to learn from instead of the corpora in ../shared/data")
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    parser.add_argument(
        "--work", type=Path, help="folder for shards, checkpoints and final/ (default: $ATLAS_WORK or the user cache)"
    )
    return parser.parse_args(arguments)


def say(name: str) -> Callable[[str], None]:
    """A log line with the time and the model."""
    return lambda line: print(time.strftime("%m-%d %H:%M:%S"), name, line, flush=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the model's lock: two runs on one folder would overwrite each other's checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another run is training in {folder}; stop it first (SIGTERM makes it save) or name another --work"
            raise SystemExit(message) from None
        yield


def run(turns: dict[str, Turn], work: Path, device: str, minutes: float | None, files: Sequence[Path] | None = None) -> None:
    """Take turns until everything is finished, time is up or a signal came."""
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    waiting = dict(turns)
    while waiting:
        for name, turn in list(waiting.items()):
            if turn.after in waiting:
                continue
            left = None if ends is None else (ends - time.monotonic()) / 60
            if left is not None and left <= 0:
                return
            share = [bound for bound in (left, turn.minutes if len(waiting) > 1 else None) if bound is not None]
            with alone(work / name):
                text = {"files": files} if turn.reads_text else {}
                outcome = turn.train(work, min(share) if share else None, device, turn.plan, say(name), **text)
            say(name)(f"turn ends at step {outcome.step} of {turn.plan.steps}")
            if outcome.stopped_by_signal:
                return
            if outcome.finished:
                del waiting[name]


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    work = work_folder(options.work)
    work.mkdir(parents=True, exist_ok=True)
    turns = {name: turn for name, turn in TURNS.items() if not options.only or name in options.only}
    if options.tokens:
        turns = {
            name: replace(turn, plan=replace(turn.plan, steps=int(options.tokens // turn.tokens_per_step)))
            if turn.reads_text
            else turn
            for name, turn in turns.items()
        }
    run(turns, work, options.device, options.minutes, options.text)


if __name__ == "__main__":
    main()
