"""Search files: the keys they may have, and reading one with file and line for every problem."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fin_plugins.common.bundled import MERGE_SEARCHES, config_name, is_file, is_folder
from fin_plugins.common.validation import Finding, Number, Positive, StrictModel, Text, did_you_mean, rule, validate
from fin_plugins.common.yaml_file import Problems, read_yaml
from fin_plugins.training import config_loading
from fin_plugins.training.config_checks import our_tasks

BEST = "best"
"""Folder of the best merge, within that of the study."""
_PLACEHOLDERS = {
    "base": "demo",
    "experts": {name: {"path": name, "tasks": [name]} for name in ("first", "second")},
}


class WeightRange(StrictModel):
    """The smallest and the largest weight."""

    low: Annotated[float, Number] = 0.0
    high: Annotated[float, Number] = 1.0

    @model_validator(mode="after")
    def _check_order(self) -> "WeightRange":
        if self.low >= self.high:
            raise rule("high", f"should be above low, {self.low:g}")
        return self

    @property
    def width(self) -> float:
        """Length of the range."""
        return self.high - self.low


class ExpertEntry(StrictModel):
    """One adapter of the merge."""

    path: Text
    """Folder of the adapter."""
    tasks: Annotated[list[Text], Field(min_length=1)]
    """Tasks or groups it was trained on; their validation rows are scored."""
    weight: WeightRange | None = None
    """Range of its weight; by default `weights`."""


class Floor(StrictModel):
    """Constraints on a candidate; either may be left out."""

    leave_out: Annotated[float, Number] | None = None
    """Smallest change of an expert's tasks against the base when the merge leaves that expert out: -0.05 lets it lose
    five points."""
    divergence: Annotated[float, Number, Field(gt=0)] | None = None
    """Largest mean divergence from the base on unlabelled prompts, in nats per prompt."""


class UnlabelledPrompts(StrictModel):
    """Prompts without labels, on which candidates are compared with the base."""

    instructions: Text | None = None
    """A .jsonl file with a `prompt` per line, instead of the bundled general instructions."""
    rows: Positive = 100
    """Maximum number of prompts, drawn with the seed."""


def _expand_unlabelled(value: Any) -> Any:
    return {"instructions": value} if isinstance(value, str) else value


class SearchConfig(StrictModel):
    """A search file."""

    base: Text
    """The model that the experts were trained from: folder, hub name, or `demo`."""
    experts: Annotated[dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")], ExpertEntry], Field(min_length=2)]
    """Adapters by name, each with its `path` and its `tasks`."""
    recipe: Text = "task_arithmetic"
    """A linear recipe, bundled or a file; the best merge is written by it."""
    weights: WeightRange = WeightRange()
    """Range of the weight of every expert that has none of its own."""

    sampler: Literal["random", "grid", "cma"] = "random"
    """`cma` is CMA-ES, which learns from the candidates it has tried."""
    candidates: Positive | None = None
    """Number of candidates, by default 20; a grid has as many as it has points."""
    steps: Annotated[int, Number, Field(ge=2)] | None = None
    """With `grid`: points along each expert's range, by default 5."""

    rows: Positive = 200
    """Maximum number of validation rows per task, drawn with the seed."""
    metric: Literal["macro_f1", "weighted_f1", "acc", "mcc"] = "macro_f1"
    """Its unweighted mean over the tasks is maximized."""
    floor: Floor = Floor()
    otherwise: Literal["nothing", "nearest"] = "nothing"
    """What to write if no candidate keeps the floor: nothing, or the `nearest` candidate, which misses it least."""
    unlabelled: Annotated[UnlabelledPrompts, BeforeValidator(_expand_unlabelled)] = UnlabelledPrompts()

    model: Literal["fin_hf", "fin_vllm"] = "fin_hf"
    """The engine."""
    model_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Arguments of the engine, for example `dtype`; the model comes from `base`."""
    batch_size: Positive | Literal["auto"] = 16
    """With `fin_hf`: rows per batch."""
    device: Text | None = None
    chat_template: Literal["auto"] | bool = "auto"
    """Whether prompts use the tokenizer's chat template; `auto`: if it has one."""
    any_base: bool = False
    """Accept adapters whose recorded base is another model."""
    seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 0
    output: Text | None = None
    """Folder of the study; by default results/search/ and the name of the file."""

    @model_validator(mode="after")
    def _check_grid(self) -> "SearchConfig":
        if self.sampler == "grid" and self.candidates is not None:
            raise rule("candidates", "a grid has as many as it has points: set steps")
        if self.sampler != "grid" and self.steps is not None:
            raise rule("steps", "requires `sampler: grid`")
        return self

    @model_validator(mode="after")
    def _check_one_expert_per_task(self) -> "SearchConfig":
        tasks = [task for expert in self.experts.values() for task in expert.tasks]
        if repeated := sorted({task for task in tasks if tasks.count(task) > 1}):
            raise rule("experts", f"{', '.join(repeated)}: named twice: a task belongs to one expert")
        return self

    @model_validator(mode="after")
    def _check_model_args(self) -> "SearchConfig":
        if reserved := sorted({"pretrained", "peft", "adapter_name", "data_parallel_size"} & self.model_args.keys()):
            raise rule("model_args", f"{', '.join(reserved)}: leave out: the model is `base`, on one engine")
        return self

    @property
    def count(self) -> int:
        """Number of candidates."""
        if self.sampler == "grid":
            return int((self.steps or 5) ** len(self.experts))
        return self.candidates or 20

    def ranges(self) -> dict[str, WeightRange]:
        """The range of each expert's weight."""
        return {name: expert.weight or self.weights for name, expert in self.experts.items()}


@dataclass(frozen=True)
class SearchFile:
    """A search file as read.

    Attributes:
        config: its content, with changes from the command line applied.
        name: name of the file without suffix.
    """

    config: SearchConfig
    name: str

    @property
    def output(self) -> Path:
        """Folder of the study."""
        return Path(self.config.output or Path("results") / "search" / self.name)


def read_search(name_or_path: str, settings: Sequence[str] = ()) -> SearchFile:
    """Read a search file.

    Args:
        name_or_path: a file, or the name of a bundled one.
        settings: values of `--set`: `a.b=value`; the last one of a key wins.

    Raises:
        FinError: there is no such file, or it cannot be read.
        Problems: everything that is wrong with it and with the settings.
    """
    source = MERGE_SEARCHES.find(name_or_path)
    file = read_yaml(source)
    changes, problems = config_loading.apply_overrides(file.data, settings)
    problems += file.problems
    config, findings = validate(SearchConfig, file.data, _PLACEHOLDERS)
    findings = [*findings, *check_references(file.data)]
    problems += [config_loading.locate_problem(key, message, file, changes) for key, message in findings]
    if problems or config is None:
        raise Problems(problems)
    return SearchFile(config, config_name(source))


def check_references(data: dict[str, Any]) -> Iterator[Finding]:
    """Folders, tasks and files that a search file names and that do not exist.

    Args:
        data: content of the file, which may be malformed.
    """
    experts = data.get("experts")
    for name, expert in experts.items() if isinstance(experts, dict) else ():
        path, tasks = (expert.get(key) if isinstance(expert, dict) else None for key in ("path", "tasks"))
        if isinstance(path, str) and path and not is_folder(str(Path(path).expanduser())):
            yield ("experts", name, "path"), f"{path}: no such folder"
        for number, task in enumerate(tasks if isinstance(tasks, list) else ()):
            if isinstance(task, str) and task.startswith("fin_") and not is_file(task) and task not in our_tasks():
                yield ("experts", name, "tasks", number), f"{task}: no such task{did_you_mean(task, our_tasks())}"
    unlabelled = data.get("unlabelled")
    instructions = unlabelled.get("instructions") if isinstance(unlabelled, dict) else unlabelled
    if isinstance(instructions, str) and instructions and not is_file(instructions):
        yield ("unlabelled",), f"{instructions}: no such file"
