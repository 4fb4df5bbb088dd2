"""The schema of training files. `config_loading` reads a file and reports every problem with its line."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fin_plugins.common.validation import Number, Positive, Share, StrictModel, Text, rule

SHORT_FOR = {"tasks": "task", "replay": "source"}
"""For each key that accepts plain text: the key of the mapping that the text is short for."""


ROUNDING_DIGITS = 6
"""Smaller fractions of a number of steps are floating-point noise: 0.29 · 100 is 28.999999999999996."""


class TaskShare(StrictModel):
    """One task of the mixture. A plain name means all train rows of the task, once per epoch."""

    task: Text
    """Name of a task or group that lm-eval knows, or path of a task YAML file."""
    cap: Positive | None = None
    """Maximum number of train rows, sampled with the seed."""
    weight: Share | None = None
    """Share of the rows, relative to the weights of the other tasks. The mixture is as large as the available rows
    allow (after cap and repeat). Give every task a weight, or none."""
    repeat: Positive = 1
    """How often each row occurs per epoch."""


class Replay(StrictModel):
    """General instructions mixed in, to rehearse what the model could do before."""

    source: Text
    """`self`: the model's own answers to general instructions, generated before training (arXiv 2403.01244).
    Otherwise a .jsonl or .json file, or a hub data set, with `prompt` and `response` or chat `messages`."""
    ratio: Share = 0.1
    """Replay examples per task example: 0.1 is one per ten, 1 as many as there are task examples."""
    split: Text = "train"
    """Split of the hub data set."""
    instructions: Text | None = None
    """With `self`: a .jsonl file of `prompt`s to use instead of the bundled ones."""
    max_new_tokens: Positive = 128
    """With `self`: maximum length of an answer, in tokens."""

    @model_validator(mode="after")
    def _instructions_need_self(self) -> "Replay":
        if self.instructions and self.source != "self":
            raise rule("instructions", "needs `source: self`")
        return self


class Lora(StrictModel):
    """The adapter, with PEFT's names."""

    r: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[float, Number, Field(ge=0, lt=1)] = 0.0
    target_modules: Literal["all-linear"] | Annotated[list[Text], Field(min_length=1)] = "all-linear"
    """Names of linear modules, or `all-linear`: all of them except the output layer."""


class Validation(StrictModel):
    """How checkpoints are compared: by label likelihood on validation rows, as evaluation scores test rows."""

    rows: Positive = 200
    """Maximum number of validation rows per task, sampled with the seed."""
    metric: Literal["macro_f1", "weighted_f1", "acc", "mcc"] = "macro_f1"
    """Averaged over the tasks, unweighted; the checkpoint with the highest mean is kept."""
    early_stop: Positive | None = None
    """Stop after this many checkpoints without an improvement."""


def _expand_task(value: Any) -> Any:
    return {SHORT_FOR["tasks"]: value} if isinstance(value, str) else value


def _expand_replay(value: Any) -> Any:
    value = _off_to_none(value)
    return {SHORT_FOR["replay"]: value} if isinstance(value, str) else value


def _off_to_none(value: Any) -> Any:
    return None if value is False or value == "off" else value


# The types for the JSON Schema: all forms that a file may use.
_Off = Literal[False, "off"]
_TASK = BeforeValidator(_expand_task, json_schema_input_type=TaskShare | Text)
_REPLAY = BeforeValidator(_expand_replay, json_schema_input_type=Replay | Text | _Off | None)
_VALIDATION = BeforeValidator(_off_to_none, json_schema_input_type=Validation | _Off | None)


class TrainConfig(StrictModel):
    """A training file."""

    model: Text
    """Base model: folder, hub name, or `demo` for the small bundled model."""
    tasks: Annotated[list[Annotated[TaskShare, _TASK]], Field(min_length=1)]
    """What to train on: names of tasks or groups, or mappings with `task` and `cap`, `weight` or `repeat`."""
    replay: Annotated[Replay | None, _REPLAY] = None

    method: Literal["lora", "rslora", "dora", "qlora", "full"] = "lora"
    lora: Lora = Lora()
    loss: Literal["completion", "all"] = "completion"
    """`completion`: on the label and the end of turn; `all`: on the prompt too (as the paper's authors did)."""
    batching: Literal["auto", "shared_prefix", "packed", "padding_free", "padded"] = "auto"
    """`shared_prefix`: one sequence per batch, in which common beginnings of prompts are computed once; same losses as
    `padded`. `packed` and `padding_free` are TRL's. `auto`: the fastest that model, device and `loss` allow."""
    max_length: Positive = 1024
    """Maximum tokens of an example (with `packed`: of a sequence). Longer examples are dropped and counted, not cut."""

    epochs: Share = 2
    max_steps: Positive | None = None
    """Stop after this many steps, regardless of `epochs`."""
    batch_size: Positive = 8
    """Examples (with `packed`: sequences) per device and micro-step."""
    gradient_accumulation: Positive = 1
    learning_rate: Share = 2e-4
    scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "cosine"
    warmup_ratio: Annotated[float, Number, Field(ge=0, lt=1)] = 0.03
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adafactor"] = "adamw_torch"
    weight_decay: Annotated[float, Number, Field(ge=0)] = 0.0
    max_grad_norm: Share = 1.0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen weights and of the computation; trained weights are always float32. `auto`: bfloat16 if the
    hardware supports it, else float32."""
    gradient_checkpointing: bool = False
    """Saves memory and takes about a third more time."""

    checkpoints_per_epoch: Positive = 2
    """A stopped run resumes from its last checkpoint, and validation chooses among the checkpoints."""
    validation: Annotated[Validation | None, _VALIDATION] = Validation()
    """`off`: no validation; the last checkpoint is kept."""
    merge: bool = False
    """Also write the merged checkpoint: the adapter added to the base in float32, rounded once."""

    chat_template: Literal["auto"] | bool = "auto"
    """Use the tokenizer's chat template, like lm-eval's --apply_chat_template; `auto`: if the tokenizer has one."""
    allow_unseen: bool = False
    """Allow training on tasks marked as unseen. The record of the run says so."""
    keep_leaks: bool = False
    """Keep train rows whose text also occurs in a test set. The record of the run says so."""
    trust_remote_code: bool = False
    seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 42
    output: Text | None = None
    """Folder of the adapter; by default results/train/ followed by the file's name."""

    @model_validator(mode="after")
    def _weights_for_all_or_none(self) -> "TrainConfig":
        weighted = [share.weight is not None for share in self.tasks]
        if any(weighted) and not all(weighted):
            raise rule("tasks", "give every task a weight, or none")
        return self

    @model_validator(mode="after")
    def _shared_prefix_needs_completion(self) -> "TrainConfig":
        if self.batching == "shared_prefix" and self.loss == "all":
            raise rule(
                "batching",
                "shared_prefix computes common prompt tokens once, so it cannot count their loss for each example: "
                "use `loss: completion`, or `batching: packed`",
            )
        return self


def warm_up_steps(scheduler: str, ratio: float, total: int) -> int:
    """Number of warm-up steps; 0 if the ratio gives less than one or the scheduler has no warm-up.

    Args:
        scheduler: `scheduler` of the training file.
        ratio: `warmup_ratio` of the training file.
        total: optimizer steps of the run.
    """
    steps = round(ratio * total, ROUNDING_DIGITS)
    return 0 if scheduler == "constant" or steps < 1 else round(steps)
