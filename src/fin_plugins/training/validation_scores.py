"""Validation as in evaluation: scores by label likelihood, on rows not used for training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.common.logs import silence_loggers
from fin_plugins.stats.metrics import Scores, scores

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from fin_plugins.training.training_data import TrainingData

_BATCH_SIZE = 16  # rows of a batch share their instruction, and no gradient is kept

Validate = Callable[[], dict[str, float]]
"""Gives the metrics of the current model by name."""


@dataclass(frozen=True)
class ValidationRows:
    """The validation rows of one task."""

    requests: "Sequence[Sequence[Instance]]"
    """One request per row and label."""
    gold: Sequence[int]
    """Index of the correct label of each row."""

    @property
    def label_count(self) -> int:
        """Number of labels."""
        return len(self.requests[0])


def likeliest_labels(lm: Any, requests: "Sequence[Sequence[Instance]]") -> list[int]:
    """Index of each row's most likely label; of equally likely ones the first.

    Args:
        lm: an lm-eval model.
        requests: one request per row and label; all are scored in one call.
    """
    results = iter(lm.loglikelihood([request for row in requests for request in row], disable_tqdm=True))
    likelihoods = [[next(results)[0] for _ in row] for row in requests]
    return [max(range(len(row)), key=row.__getitem__) for row in likelihoods]


def validate(lm: Any, rows: Mapping[str, ValidationRows], processes: Any = None) -> dict[str, Scores]:
    """Scores of each task.

    Args:
        lm: an lm-eval model.
        rows: validation rows by task.
        processes: with several processes: their number, the rank of this one, and a function that concatenates their
            lists in order. Each process scores its share of the rows.
    """
    count, rank, gather = processes or (1, 0, None)
    task_scores = {}
    for task, task_rows in rows.items():
        answers = likeliest_labels(lm, task_rows.requests[rank::count])
        gold = list(task_rows.gold[rank::count])
        if gather is not None:
            answers, gold = gather(answers), gather(gold)
        task_scores[task] = scores(gold, answers, task_rows.label_count)
    return task_scores


def validator(metric: str, model: Any, data: "TrainingData") -> Validate:
    """A function that validates the model in its current state, with each process scoring its share of the rows.

    Args:
        metric: the metric whose mean over the tasks compares checkpoints.
        model: the transformers model, with its adapter attached.
        data: validation rows and tokenizer.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state = PartialState()
    processes = (state.num_processes, state.process_index, gather_object) if state.num_processes > 1 else None
    lm: Any = None

    def validate_model() -> dict[str, float]:
        nonlocal lm
        if lm is None:
            from fin_plugins.scoring.fin_hf import FinHF

            with silence_loggers("lm_eval.models.huggingface"):  # it warns that a loaded model does not use `device`
                lm = FinHF(pretrained=model, tokenizer=data.lm.tokenizer, batch_size=_BATCH_SIZE)
        by_task = validate(lm, data.validation, processes)
        task_metrics = {
            f"{task}/{key}": value for task, scores in by_task.items() for key, value in vars(scores).items()
        }
        mean = sum(getattr(scores, metric) for scores in by_task.values()) / len(by_task)
        return {metric: mean, **task_metrics}

    return validate_model
