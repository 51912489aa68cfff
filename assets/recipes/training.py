"""One way to train: transformers' Trainer over batches that are a function of the step, so that a resumed run is the same run.

A dataset here is a rule `step -> batch`. Nothing is drawn from a shared random state while training, dropout is off, and the
order is the step order: what a run does after step n depends on the checkpoint at n and on nothing else.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState

Batch = dict[str, torch.Tensor]
Setting = TypeVar("Setting")
IGNORE = -100  # the label of a place that is not scored, as transformers has it

MINUTES_BETWEEN_CHECKPOINTS = 8.0  # a machine may vanish at any time: at most this much work is lost
CHECKPOINTS, LAST_CHECKPOINTS = "checkpoints", "last-checkpoints"  # a model may be trained in two stretches
TIMES = "times.jsonl"  # one line a checkpoint: its step, and seconds of training since the one before
WHOLE = "whole"  # written last into a checkpoint; a folder without it was cut off while being written
STEPS_BETWEEN_LOGS = 50


def in_force(table: Sequence[tuple[int, Setting]], step: int) -> Setting:
    """What a table of first steps, in their order, says of a step."""
    return [setting for first, setting in table if step >= first][-1]


@dataclass(frozen=True)
class Plan:
    """How long and how fast one model learns: warm-up, a flat stretch, and a decay at the end of `steps`."""

    steps: int
    learning_rate: float
    warmup_steps: int = 200
    decay_share: float = 0.2
    weight_decay: float = 0.1
    seed: int = 7


class StepBatches(Dataset[Batch]):
    """The batch of every step as a dataset of its own: item i is the whole batch of step i."""

    def __init__(self, rule: Callable[[int], Batch], steps: int) -> None:
        self.rule, self.steps = rule, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        return self.rule(step)


@contextmanager
def rounded_to_half(model: torch.nn.Module) -> Iterator[None]:
    """The weights as float16 stores them, while inside; the exact ones, which the optimiser moves, again afterwards.

    Forward and backward through the rounding (straight through): what is shipped is then what was trained, to the last bit.
    Rounding a finished t5-mini moved its logits by 0.05.
    """
    exact = [(weight, weight.detach().clone()) for weight in model.parameters()]
    with torch.no_grad():
        for weight, copy in exact:
            weight.copy_(copy.half())
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, copy in exact:
                weight.copy_(copy)


class InStepOrder(Trainer):
    """A Trainer that neither shuffles nor re-batches, lets a model bring a loss of its own, and ends on rounded weights."""

    def __init__(
        self, *args: Any, loss_rule: Callable[[Any, Batch], torch.Tensor] | None = None, rounded_from: int, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.loss_rule, self.rounded_from = loss_rule, rounded_from

    def training_step(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One forward and backward pass, from the decay on with the weights that will be stored."""
        if self.state.global_step < self.rounded_from:
            return super().training_step(model, *args, **kwargs)
        with rounded_to_half(model):
            return super().training_step(model, *args, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset[Batch] | None = None) -> Sampler[int]:
        return SequentialSampler(train_dataset or self.train_dataset)

    def compute_loss(self, model: Any, inputs: Batch, *args: Any, **kwargs: Any) -> Any:
        """The recipe's own loss where it has one."""
        if self.loss_rule is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        return self.loss_rule(model, inputs)


class Watch(TrainerCallback):
    """Checkpoint by the clock, stop when asked or when time is up, and mark checkpoints that are complete."""

    def __init__(self, minutes: float | None, log: Callable[[str], None]) -> None:
        self.started = self.saved = time.monotonic()
        self.first_step: int | None = None
        self.minutes, self.log = minutes, log
        self.asked_to_stop = False

    def stop(self, *_: object) -> None:
        """Signal handler: the step under way ends, a checkpoint is written, the run returns."""
        self.asked_to_stop = True

    def on_train_begin(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """Start the clock."""
        self.started = self.saved = time.monotonic()
        self.first_step = state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a checkpoint, and for an end where it is time."""
        now = time.monotonic()
        out_of_time = self.minutes is not None and now - self.started >= 60 * self.minutes
        finished = state.global_step >= args.max_steps
        if self.asked_to_stop or out_of_time or finished:
            control.should_save = control.should_training_stop = True
        elif now - self.saved >= 60 * MINUTES_BETWEEN_CHECKPOINTS:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Everything is written: say so in the checkpoint, and note how long it took since the one before."""
        now = time.monotonic()
        folder = Path(str(args.output_dir))
        (folder / f"checkpoint-{state.global_step}" / WHOLE).write_text("complete\n")
        with (folder / TIMES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, "seconds": round(now - self.saved, 6)}) + "\n")
        self.saved = now
        self.log(f"checkpoint at step {state.global_step}")

    def on_log(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        """A line with loss and pace."""
        logs = kwargs.get("logs", {})
        if "loss" in logs:
            pace = (state.global_step - (self.first_step or 0)) / max(1e-9, time.monotonic() - self.started)
            self.log(
                f"step {state.global_step}/{args.max_steps} loss {logs['loss']:.4f} "
                f"rate {logs.get('learning_rate', 0):.2e} {pace:.2f} steps/s"
            )


def last_checkpoint(folder: Path, *, clean: bool) -> Path | None:
    """Newest complete checkpoint. `clean` removes incomplete ones, so that Trainer does not rotate a good one out for them."""
    best: tuple[int, Path] | None = None
    for found in folder.glob("checkpoint-*"):
        if not (found / WHOLE).exists():
            if clean:
                shutil.rmtree(found)
            continue
        step = int(found.name.rsplit("-", 1)[1])
        if best is None or step > best[0]:
            best = (step, found)
    return best[1] if best else None


def stretches(run: Path) -> list[Path]:
    """The folders of checkpoints of a model, the last one first."""
    return [run / name for name in (LAST_CHECKPOINTS, CHECKPOINTS) if (run / name).exists()]


def newest_checkpoint(run: Path) -> Path | None:
    """The newest complete one of all stretches."""
    return next(filter(None, (last_checkpoint(folder, clean=False) for folder in stretches(run))), None)


def hours_trained(folder: Path) -> float:
    """Hours of training that led to the newest checkpoint; a stretch that broke off counts up to its last checkpoint."""
    place = folder / TIMES
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    return sum(json.loads(line)["seconds"] for line in lines) / 3600


@contextmanager
def stopping_on_signals(watch: Watch) -> Iterator[None]:
    """SIGTERM and SIGINT end a run with a checkpoint instead of losing minutes of it."""
    before = {number: signal.signal(number, watch.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Outcome:
    """What one stretch of training came to."""

    step: int
    finished: bool
    stopped_by_signal: bool
    losses: tuple[tuple[int, float], ...]


def train(
    model: PreTrainedModel,
    rule: Callable[[int], Batch],
    folder: Path,
    plan: Plan,
    *,
    minutes: float | None = None,
    device: str = "cpu",
    autocast: bool = True,
    log: Callable[[str], None] = print,
    log_steps: int = STEPS_BETWEEN_LOGS,
    loss_rule: Callable[[Any, Batch], torch.Tensor] | None = None,
) -> Outcome:
    """Train from the newest complete checkpoint in `folder` until the plan is done, the minutes are up or a signal comes."""
    folder.mkdir(parents=True, exist_ok=True)
    decay = int(plan.steps * plan.decay_share)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=1,
        learning_rate=plan.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=plan.warmup_steps,
        lr_scheduler_kwargs={"num_decay_steps": decay, "decay_type": "1-sqrt"},
        weight_decay=plan.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=autocast,
        use_cpu=device == "cpu",
        seed=plan.seed,
        data_seed=plan.seed,
        save_strategy="no",
        save_total_limit=2,
        logging_steps=log_steps,
        logging_first_step=True,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    watch = Watch(minutes, log)
    trainer = InStepOrder(
        model=model,
        args=arguments,
        train_dataset=StepBatches(rule, plan.steps),
        loss_rule=loss_rule,
        rounded_from=plan.steps - decay,
        data_collator=lambda items: items[0],
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(folder, clean=True)
    with stopping_on_signals(watch):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    losses = tuple((int(row["step"]), float(row["loss"])) for row in trainer.state.log_history if "loss" in row)
    step = trainer.state.global_step
    return Outcome(step, step >= plan.steps, watch.asked_to_stop, losses)
