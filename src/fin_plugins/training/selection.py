"""Choosing among checkpoints: what they score on validation rows, and when to stop looking."""

from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback

from fin_plugins.common.logs import silence_loggers
from fin_plugins.scoring.hf import FinHF
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.prepare import Prepared
from fin_plugins.training.trainer import Validate, base_of
from fin_plugins.training.validation import validate

_ROWS_A_PASS = 16  # they share their instruction, and no gradient is kept


def scorer(config: TrainConfig, model: Any, prepared: Prepared) -> Validate:
    """Scores the model as it is when asked, every process its share of the rows."""
    assert config.validation is not None
    metric = config.validation.metric
    state = PartialState()
    share = (state.num_processes, state.process_index, gather_object) if state.num_processes > 1 else None
    lm: list[FinHF] = []

    def scored() -> dict[str, float]:
        if not lm:
            with silence_loggers("lm_eval.models.huggingface"):  # it warns that a loaded model has no use for `device`
                lm.append(FinHF(pretrained=base_of(model), tokenizer=prepared.lm.tokenizer, batch_size=_ROWS_A_PASS))
        found = validate(lm[0], prepared.validation, share)
        each = {f"{task}/{key}": value for task, scores in found.items() for key, value in vars(scores).items()}
        return {metric: sum(getattr(one, metric) for one in found.values()) / len(found), **each}

    return scored


class LastStep(TrainerCallback):
    """The model of the last step is validated too, whether or not the steps between validations divide the run."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a validation."""
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True


class EarlyStop(TrainerCallback):
    """Stops when checkpoints no longer get better; decides from the log alone, so a resumed run decides the same."""

    def __init__(self, metric: str, patience: int) -> None:
        """Stop after `patience` validations without a better one."""
        self._key, self._patience = f"eval_{metric}", patience

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop after one step where a run was killed between stopping early and its end: no validation is added."""
        self.on_evaluate(args, state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop, if it is time to; the base model's own validation does not count."""
        curve = [entry[self._key] for entry in state.log_history if self._key in entry and entry["step"]]
        if curve and len(curve) - 1 - curve.index(max(curve)) >= self._patience:
            control.should_training_stop = True
