"""What a training file may say. Reading one, with file and line for every problem, is `read.py`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fin_plugins.common.validation import Number, Positive, Share, StrictModel, Text, rule

SHORT_FOR = {"tasks": "task", "replay": "source"}
"""The key that a bare text stands for."""


class TaskShare(StrictModel):
    """One task of the mixture. A bare name in the file stands for the task with all its train rows, once."""

    task: Text
    """Name of a task or group that lm-eval knows, or path of a task YAML."""
    cap: Positive | None = None
    """At most so many train rows, drawn with the seed."""
    weight: Share | None = None
    """Rows in proportion to the weights of the others: rows are drawn so that no task needs more than it has (after
    cap and repeat). Give every task one, or none."""
    repeat: Positive = 1
    """Each row so many times an epoch."""


class Replay(StrictModel):
    """General instructions mixed in, so that what the model could do before is rehearsed."""

    source: Text
    """`self`: the model's own answers to general instructions, made before training (arXiv 2403.01244). Otherwise a
    .jsonl or .json file, or a hub data set, of `prompt` and `response`, or of chat `messages`."""
    ratio: Share = 0.1
    """Replay examples for every task example: 0.1 is one for ten, 1 as many as task examples."""
    split: Text = "train"
    """Split of a hub data set."""
    instructions: Text | None = None
    """With `self`: a .jsonl file of `prompt`s instead of the ones that ship with the package."""
    max_new_tokens: Positive = 128
    """With `self`: length of an answer at most."""

    @model_validator(mode="after")
    def _instructions_need_self(self) -> "Replay":
        if self.instructions and self.source != "self":
            raise rule("instructions", "goes with `source: self` only")
        return self


class Lora(StrictModel):
    """The adapter; PEFT's own names."""

    r: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[float, Number, Field(ge=0, lt=1)] = 0.0
    target_modules: Literal["all-linear"] | Annotated[list[Text], Field(min_length=1)] = "all-linear"
    """Names of linear modules, or `all-linear`: every one but the output layer."""


class Validation(StrictModel):
    """How checkpoints are compared: by label likelihood on validation rows, as evaluation scores test rows."""

    rows: Positive = 200
    """Validation rows a task at most, drawn with the seed."""
    metric: Literal["macro_f1", "weighted_f1", "acc", "mcc"] = "macro_f1"
    """Unweighted mean over the tasks; the checkpoint with the largest is kept."""
    early_stop: Positive | None = None
    """Stop after so many checkpoints without a better one."""


def _named(value: Any) -> Any:
    return {SHORT_FOR["tasks"]: value} if isinstance(value, str) else value


def _replay(value: Any) -> Any:
    value = _off(value)
    return {SHORT_FOR["replay"]: value} if isinstance(value, str) else value


def _off(value: Any) -> Any:
    return None if value is False or value == "off" else value


# What a file may write, for the JSON Schema.
_Off = Literal[False, "off"]
_TASK = BeforeValidator(_named, json_schema_input_type=TaskShare | Text)
_REPLAY = BeforeValidator(_replay, json_schema_input_type=Replay | Text | _Off | None)
_VALIDATION = BeforeValidator(_off, json_schema_input_type=Validation | _Off | None)


class TrainConfig(StrictModel):
    """A training file."""

    model: Text
    """Base model: folder, hub name, or `demo` for the small model that comes with the package."""
    tasks: Annotated[list[Annotated[TaskShare, _TASK]], Field(min_length=1)]
    """What to learn: names of tasks or groups, and mappings with `task` and `cap`, `weight` or `repeat`."""
    replay: Annotated[Replay | None, _REPLAY] = None

    method: Literal["lora", "rslora", "dora", "qlora", "full"] = "lora"
    lora: Lora = Lora()
    loss: Literal["completion", "all"] = "completion"
    """On the label and the end of turn, or on the prompt too (as the paper's authors did)."""
    batching: Literal["auto", "shared_prefix", "packed", "padding_free", "padded"] = "auto"
    """`shared_prefix`: one sequence a batch, what its prompts begin with in common computed once; same losses as
    `padded`. `packed` and `padding_free` are TRL's. `auto` chooses what the model, the device and `loss` allow."""
    max_length: Positive = 1024
    """Tokens of an example at most; a longer one is left out and counted, never cut. With `packed`, of a sequence."""

    epochs: Share = 2
    max_steps: Positive | None = None
    """Stop after so many steps, whatever `epochs` says."""
    batch_size: Positive = 8
    """Examples (with `packed`: sequences) a device and micro-step."""
    gradient_accumulation: Positive = 1
    learning_rate: Share = 2e-4
    scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "cosine"
    warmup_ratio: Annotated[float, Number, Field(ge=0, lt=1)] = 0.03
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adafactor"] = "adamw_torch"
    weight_decay: Annotated[float, Number, Field(ge=0)] = 0.0
    max_grad_norm: Share = 1.0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen weights and of computing; what is trained is always float32. `auto`: bfloat16 where the hardware
    computes in it, float32 elsewhere."""
    gradient_checkpointing: bool = False
    """Less memory for a third more time."""

    checkpoints_per_epoch: Positive = 2
    """A checkpoint is what a killed run resumes from, and what validation chooses among."""
    validation: Annotated[Validation | None, _VALIDATION] = Validation()
    """`off`: none; the last checkpoint is kept."""
    merge: bool = False
    """Also write the merged checkpoint: the adapter added to the base in float32, rounded once."""

    chat_template: Literal["auto"] | bool = "auto"
    """Prompts in the tokenizer's chat template, as with lm-eval's --apply_chat_template; `auto`: where it has one."""
    allow_unseen: bool = False
    """Train on tasks that are marked unseen; recorded."""
    keep_leaks: bool = False
    """Keep train rows whose text stands in a test set; recorded."""
    trust_remote_code: bool = False
    seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 42
    output: Text | None = None
    """Folder of the adapter; by default results/train/ and the file's name."""

    @model_validator(mode="after")
    def _weights_for_all_or_none(self) -> "TrainConfig":
        given = [share.weight is not None for share in self.tasks]
        if any(given) and not all(given):
            raise rule("tasks", "give every task a weight, or none")
        return self

    @model_validator(mode="after")
    def _prefix_needs_completion(self) -> "TrainConfig":
        if self.batching == "shared_prefix" and self.loss == "all":
            raise rule(
                "batching",
                "shared_prefix computes the prompts' common tokens once, so their loss cannot be counted for each "
                "example: use `loss: completion`, or `batching: packed`",
            )
        return self
