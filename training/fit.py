"""Train a model on pairs so that a run can be repeated, stopped and killed: the same seed ends with the same numbers.

sentence-transformers' trainers do the work. Added here: the loss's own layers are part of a checkpoint, a checkpoint
counts only when it is whole, batches hold pairs of like length, and what can go wrong says how to go on.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers, DefaultBatchSampler
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import EarlyStoppingCallback, PrinterCallback, set_seed
from transformers.utils.logging import disable_progress_bar

from pgsbert.errors import TrainingError, UsageError
from pgsbert.failures import is_out_of_memory
from pgsbert.training.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datasets import Dataset
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator
    from torch import nn

HEAD = "head.safetensors"  # in a checkpoint: what the loss adds to the model
WHOLE = "whole"  # written last: a checkpoint without it was cut short
POOL = 50  # batches among which pairs of like length are looked for


@dataclass(frozen=True, slots=True)
class Practice:
    """How to train, whatever is trained: steps, rates, seed, and where to keep what.

    A step takes ``batch_size * accumulate`` pairs. ``warmup`` is the share of all steps in which the rate rises;
    then it falls to 0. Every ``every`` steps a checkpoint is kept; with ``patience`` dev is judged there too, and
    training ends after so many times without a better figure, with the best checkpoint. ``max_length`` is in tokens.
    """

    out: Path
    epochs: int = 1
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 2e-5
    head_learning_rate: float = 1e-3
    warmup: float = 0.1
    max_length: int = 128
    every: int = 200
    patience: int | None = None
    seed: int = 0
    device: str | None = None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are until the run is over: not in the model's own folder, whose files are the model."""
        return self.out.with_name(f"{self.out.name}.checkpoints")


@dataclass(frozen=True, slots=True)
class Dev:
    """How dev is judged during training: the evaluator, and which of its figures decides (the higher the better)."""

    evaluator: BaseEvaluator
    figure: str

    def measure(self, model: SentenceTransformer | CrossEncoder) -> dict[str, float]:
        """Return the figures of a model."""
        figures = self.evaluator(model)
        assert isinstance(figures, dict)  # as all of ours do
        return {name: float(value) for name, value in figures.items()}


class LikeLengths(DefaultBatchSampler):
    """Batches of pairs of like length, in an order that depends on seed and epoch alone: little padding."""

    def __init__(self, dataset: Dataset, *arguments: Any, **named: Any) -> None:
        super().__init__(dataset, *arguments, **named)
        texts = [name for name in dataset.column_names if name not in ("label", "score")]
        columns = (dataset[name] for name in texts)
        self.lengths = torch.tensor([sum(map(len, row)) for row in zip(*columns, strict=True)])

    def __iter__(self) -> Iterator[list[int]]:
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=chance)
        batches: list[list[int]] = []
        for pool in torch.split(order, POOL * self.batch_size):
            by_length = pool[self.lengths[pool].argsort(stable=True)]
            batches += [batch.tolist() for batch in torch.split(by_length, self.batch_size)]
        for number in torch.randperm(len(batches), generator=chance).tolist():
            yield batches[number]

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)


class _Kept:
    """What both trainers do differently from sentence-transformers' own."""

    args: Any
    model: Any
    loss: Any
    state: Any

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave the card to ``card``: the library's looks the base up on the hub."""

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:  # noqa: ARG002 - the interface
        folder = Path(output_dir or self.args.output_dir)
        self.model.save_pretrained(str(folder), create_model_card=False)
        if own := own_tensors(self.loss):
            save_file(own, folder / HEAD)

    def _load_from_checkpoint(self, checkpoint: str, *rest: Any) -> None:
        super()._load_from_checkpoint(checkpoint, *rest)  # type: ignore[misc] # of the trainer this is mixed into
        if (Path(checkpoint) / HEAD).exists():
            self.loss.load_state_dict(load_file(Path(checkpoint) / HEAD), strict=False)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _save_checkpoint(self, model: object, trial: object) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            (folder / WHOLE).touch()
        except Exception as error:  # torch, safetensors and the system each have their own word for a full disk
            shutil.rmtree(folder, ignore_errors=True)
            kept = last_whole(folder.parent)
            raise TrainingError(
                f"The checkpoint at step {self.state.global_step} could not be written ({error}). "
                f"{f'{kept.name} is kept' if kept else 'None was written before'}: "
                f"make room in {folder.parent} and go on with --resume."
            ) from error


class _BiEncoderTrainer(_Kept, SentenceTransformerTrainer):
    pass


class _CrossEncoderTrainer(_Kept, CrossEncoderTrainer):
    pass


def begin_quietly(seed: int) -> None:
    """Make what follows depend on the seed alone, and keep the libraries' own progress bars off the screen."""
    set_seed(seed)
    disable_progress_bar()  # type: ignore[no-untyped-call]


def fit(
    model: SentenceTransformer | CrossEncoder,
    loss: nn.Module,
    pairs: Dataset,
    practice: Practice,
    *,
    dev: Dev | None = None,
    head: str | None = None,
    in_batch_negatives: bool = False,
) -> list[dict[str, float]]:
    """Train ``model`` in place and return the history: loss a step, and dev's figures where they were judged.

    ``head`` matches the names of the loss's parameters that begin at random and learn at the head's rate. Goes on from
    the last whole checkpoint in ``practice.checkpoints``, if there is one. Raises TrainingError when memory or disk is
    exhausted.
    """
    from sentence_transformers import SentenceTransformer

    is_bi_encoder = isinstance(model, SentenceTransformer)
    trainer_class: Any = _BiEncoderTrainer if is_bi_encoder else _CrossEncoderTrainer
    if practice.patience is not None and dev is None:
        raise UsageError("--patience needs --dev: without it nothing says when to stop.")
    trainer = trainer_class(
        model=model,
        args=_arguments(practice, dev, head=head, is_bi_encoder=is_bi_encoder, in_batch_negatives=in_batch_negatives),
        train_dataset=pairs,
        loss=loss,
        evaluator=dev.evaluator if dev and practice.patience is not None else None,
        callbacks=[Progress(practice.batch_size * practice.accumulate)]
        + ([EarlyStoppingCallback(practice.patience)] if practice.patience is not None else []),
    )
    trainer.remove_callback(PrinterCallback)
    _remove_cut_short(practice.checkpoints)
    kept = last_whole(practice.checkpoints)
    with _explaining_memory(practice):
        trainer.train(resume_from_checkpoint=str(kept) if kept else None)
    return [
        dict(entry) for entry in trainer.state.log_history if "loss" in entry or (dev and f"eval_{dev.figure}" in entry)
    ]


def _arguments(
    practice: Practice, dev: Dev | None, *, head: str | None, is_bi_encoder: bool, in_batch_negatives: bool
) -> Any:
    arguments: Any = SentenceTransformerTrainingArguments if is_bi_encoder else CrossEncoderTrainingArguments
    early = practice.patience is not None and dev is not None
    return arguments(
        output_dir=str(practice.checkpoints),
        num_train_epochs=practice.epochs,
        per_device_train_batch_size=practice.batch_size,
        gradient_accumulation_steps=practice.accumulate,
        learning_rate=practice.learning_rate,
        learning_rate_mapping={head: practice.head_learning_rate} if head else {},
        warmup_steps=practice.warmup,  # a share of all steps if below 1
        seed=practice.seed,
        data_seed=practice.seed,
        # in-batch negatives must not hold the positive of another row twice; else pairs of like length
        batch_sampler=BatchSamplers.NO_DUPLICATES if in_batch_negatives else LikeLengths,
        save_strategy="steps",
        save_steps=practice.every,
        save_total_limit=2,  # the one before stays until the new one is whole
        eval_strategy="steps" if early else "no",
        eval_steps=practice.every if early else None,
        load_best_model_at_end=early,
        metric_for_best_model=f"eval_{dev.figure}" if early and dev else None,
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,  # early stopping goes on counting
        logging_steps=1,  # so that the history of a resumed run is that of an uninterrupted one
        disable_tqdm=True,
        report_to="none",
        use_cpu=practice.device == "cpu",
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def own_tensors(loss: nn.Module) -> dict[str, torch.Tensor]:
    """Return what a loss learns besides the model, such as the classifier of the softmax objective."""
    return {name: value for name, value in loss.state_dict().items() if not name.startswith("model.")}


def last_whole(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end."""
    whole = (path.parent for path in folder.glob(f"checkpoint-*/{WHOLE}"))
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _remove_cut_short(folder: Path) -> None:
    for path in folder.glob("checkpoint-*"):
        if not (path / WHOLE).exists():
            shutil.rmtree(path)


@contextmanager
def _explaining_memory(practice: Practice) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        half, twice = max(1, practice.batch_size // 2), practice.accumulate * 2
        raise TrainingError(
            f"Memory was exhausted with --batch-size {practice.batch_size} and --max-length {practice.max_length}. "
            f"Next: --batch-size {half} --accumulate {twice}, which takes the same steps in about half the memory."
        ) from error
