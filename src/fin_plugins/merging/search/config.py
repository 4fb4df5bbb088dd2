"""What a search file may say. Reading one, with file and line for every problem, is `read.py`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fin_plugins.common.validation import Number, Positive, StrictModel, Text, rule

BEST = "best"
"""Folder of the best merge, below the study's."""
UNLABELLED = "instructions"
"""The key that a bare text under `unlabelled` stands for."""


class Range(StrictModel):
    """The smallest and the largest weight."""

    low: Annotated[float, Number] = 0.0
    high: Annotated[float, Number] = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low >= self.high:
            raise rule("high", f"should be above low, {self.low:g}")
        return self


class ExpertEntry(StrictModel):
    """One adapter of the merge."""

    path: Text
    """Its folder."""
    tasks: Annotated[list[Text], Field(min_length=1)]
    """What it was trained on: tasks or groups whose validation rows count."""
    weight: Range | None = None
    """Its own range of weights; by default that of all."""


class Floor(StrictModel):
    """What a candidate must keep to be chosen; either may be left out."""

    leave_out: Annotated[float, Number] | None = None
    """Smallest change against the base, on the tasks of each expert, of the merge without that expert: -0.05 lets it
    lose five points."""
    divergence: Annotated[float, Number, Field(gt=0)] | None = None
    """Largest mean divergence from the base on the unlabelled rows, in nats a prompt."""


class Unlabelled(StrictModel):
    """Prompts without labels, on which candidates are compared with the base."""

    instructions: Text | None = None
    """A .jsonl file of `prompt`s instead of the general ones that ship with the package."""
    rows: Positive = 100
    """So many of them at most, drawn with the seed."""


def _unlabelled(value: Any) -> Any:
    return {UNLABELLED: value} if isinstance(value, str) else value


class SearchConfig(StrictModel):
    """A search file."""

    base: Text
    """The model that the experts were trained from: folder, hub name, or `demo`."""
    experts: Annotated[dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")], ExpertEntry], Field(min_length=2)]
    """Adapters by name, each with its `path` and its `tasks`."""
    recipe: Text = "task_arithmetic"
    """A linear recipe, shipped or a file: what its merge is, and what the best one is written by."""
    weights: Range = Range()
    """Of every expert that has no range of its own."""

    sampler: Literal["random", "grid", "cma"] = "random"
    """`cma`: CMA-ES, which learns from what it has tried."""
    candidates: Positive | None = None
    """So many are tried, by default 20; a grid has as many as it has points."""
    steps: Annotated[int, Number, Field(ge=2)] | None = None
    """With `grid`: points along each expert's range, by default 5."""

    rows: Positive = 200
    """Validation rows a task at most, drawn with the seed."""
    metric: Literal["macro_f1", "weighted_f1", "acc", "mcc"] = "macro_f1"
    """Unweighted mean over the tasks; the largest among the candidates that keep the floor wins."""
    floor: Floor = Floor()
    otherwise: Literal["nothing", "nearest"] = "nothing"
    """What is written where no candidate keeps the floor: `nearest`, the one that falls least short."""
    unlabelled: Annotated[Unlabelled, BeforeValidator(_unlabelled)] = Unlabelled()

    model: Literal["fin_hf", "fin_vllm"] = "fin_hf"
    """The engine."""
    model_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """The engine's arguments, as `dtype`; the model comes from `base`."""
    batch_size: Positive | Literal["auto"] = 16
    """With `fin_hf`: rows at once."""
    device: Text | None = None
    chat_template: Literal["auto"] | bool = "auto"
    """Prompts in the tokenizer's chat template; `auto`: where it has one."""
    any_base: bool = False
    """Accept an adapter whose recorded base is another."""
    seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 0
    output: Text | None = None
    """Folder of the study; by default results/search/ and the file's name."""

    @model_validator(mode="after")
    def _a_grid_counts_by_itself(self) -> "SearchConfig":
        if self.sampler == "grid" and self.candidates is not None:
            raise rule("candidates", "a grid has as many as it has points: set steps")
        if self.sampler != "grid" and self.steps is not None:
            raise rule("steps", "goes with `sampler: grid` only")
        return self

    @model_validator(mode="after")
    def _each_task_has_one_expert(self) -> "SearchConfig":
        named = [task for expert in self.experts.values() for task in expert.tasks]
        if twice := sorted({task for task in named if named.count(task) > 1}):
            raise rule("experts", f"{', '.join(twice)}: named twice; what is left out with an expert is its tasks")
        return self

    @model_validator(mode="after")
    def _the_model_stands_elsewhere(self) -> "SearchConfig":
        if reserved := sorted({"pretrained", "peft", "adapter_name", "data_parallel_size"} & self.model_args.keys()):
            raise rule("model_args", f"{', '.join(reserved)}: leave out: the model is `base`, on one engine")
        return self

    @property
    def count(self) -> int:
        """How many candidates there are."""
        if self.sampler == "grid":
            return int((self.steps or 5) ** len(self.experts))
        return self.candidates or 20

    def ranges(self) -> dict[str, Range]:
        """The range of each expert's weight."""
        return {name: expert.weight or self.weights for name, expert in self.experts.items()}
