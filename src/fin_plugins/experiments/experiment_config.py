"""The schema of experiment files; `experiment_file` reads one and reports every problem with file and line."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from fin_plugins.common.validation import Number, Positive, Share, StrictModel, Text, rule

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$")]
"""Name of a model, training or merge; becomes part of folder and step names."""
Count = Annotated[int, Number, Field(ge=0)]
Kind = Literal["train", "merge", "search", "score", "board"]


class Resources(StrictModel):
    """Resources of one step. Steps run in parallel as long as the machine or the cluster profile has enough."""

    cores: Positive = 2
    memory_gb: Share = 4
    gpus: Count = 0
    gpu_kind: Text | None = None
    """GPU model as the cluster names it; for profiles."""
    hours: Share = 24
    """Time limit on a cluster."""


class Model(StrictModel):
    """A base model."""

    model: Text
    """Folder, hub name, or `demo` for the small model that ships with the package."""
    revision: Text | None = None
    """Branch, tag or commit of a hub model."""
    score: bool = True
    """Score the base model itself; forgetting is measured against it."""
    fewshot: list[Count] | None = None
    """Few-shot counts for this model; overrides the experiment's `fewshot`."""
    train: list[Name] | None = None
    """Trainings to run; default: all."""
    merge: list[Name] | None = None
    """Merges to make; default: all."""
    chat_template: bool | None = None
    """Overrides the experiment's `scoring.chat_template`; base models have no chat template."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Keys of every training file to change for this model, as with `fin train --set`."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Additional engine arguments for this model."""


class Tasks(StrictModel):
    """Tasks to score: names of tasks or groups, or paths of task files; always the choice task (without `_gen`)."""

    seen: Annotated[list[Text], Field(min_length=1)]
    unseen: list[Text] = Field(default_factory=list)


class Rows(StrictModel):
    """Rows to use: a seeded sample for training, the first ones for testing (test rows are in random order)."""

    data: Literal["real", "sample"] = "real"
    """`sample` uses the embedded rows (FIN_DATA=sample), to try things out."""

    train: Positive | None = None
    """Maximum train rows per task; a cap in the training file takes precedence."""
    test: Positive | None = None
    """Maximum test rows per data set, as lm-eval's --limit."""


class Training(StrictModel):
    """A training: one adapter for each model and seed. A bare name is short for `file`."""

    file: Text
    """Training file, or the name of a bundled one."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Keys of the training file to change, as with `fin train --set`."""


class Merge(StrictModel):
    """A merge: one merged model for each model and seed."""

    experts: Annotated[list[Name], Field(min_length=1)]
    """Names of trainings."""
    recipe: Text | None = None
    """Recipe file, or the name of a bundled one. With `search`: the weighted sum whose weights are searched."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Recipe parameters to change, as with `fin merge --set`."""
    weights: dict[Name, Annotated[float, Number]] = Field(default_factory=dict)
    """Expert weights, as with `fin merge --weight`."""
    search: dict[str, Any] | None = None
    """Search for the weights: keys of a search file (candidates, rows, sampler, floor …)."""
    adapter: bool = True
    """Write an adapter, served by the base's engine; False: write a checkpoint, which needs its own engine."""
    rank: Positive | None = None
    """Rank of the adapter, where the recipe is not a weighted sum."""
    max_residual: Share | None = None
    """Largest share of the merged change that the adapter may lose."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    max_rounding: Annotated[Share, Field(le=1)] | None = None
    """Largest share of the merged change that a checkpoint may lose by rounding to `dtype`; default: 0.5."""

    @model_validator(mode="after")
    def _recipe_or_search(self) -> "Merge":
        if self.recipe is None and self.search is None:
            raise rule("recipe", "name a recipe, or give `search` to search for the weights")
        if self.search is not None and (self.set or self.weights or not self.adapter or self.rank or self.dtype):
            raise rule("search", "can be combined with `experts` and `recipe` only: the search decides the rest")
        if not self.adapter and (self.rank or self.max_residual):
            raise rule("adapter", "`rank` and `max_residual` are for adapters, but this is a checkpoint")
        if self.adapter and self.max_rounding is not None:
            raise rule("max_rounding", "is for checkpoints: set `adapter: false`")
        return self


class Scoring(StrictModel):
    """Scoring of all models: arguments of `fin eval`."""

    engine: Literal["fin_hf", "fin_vllm"] = "fin_hf"
    model_args: dict[str, Any] = Field(default_factory=dict)
    batch_size: Positive | Literal["auto"] = "auto"
    chat_template: bool = True


class Board(StrictModel):
    """The final board: options of `fin board`."""

    reference: Name | None = None
    """Training whose gain counts as 100 %, usually the multi-task one."""
    published: bool = True
    """Show the rows published in papers."""


def _expand_training(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def _expand_model(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class Experiment(StrictModel):
    """An experiment file."""

    models: Annotated[
        dict[Name, Annotated[Model, BeforeValidator(_expand_model, json_schema_input_type=Model | Text)]],
        Field(min_length=1),
    ]
    tasks: Tasks
    protocols: Annotated[list[Literal["likelihood", "generation"]], Field(min_length=1)] = Field(
        default=["likelihood", "generation"]
    )
    fewshot: Annotated[list[Count], Field(min_length=1)] = Field(default=[0])
    """Few-shot counts for base models; trained and merged models are scored zero-shot."""
    rows: Rows = Rows()
    seeds: Annotated[list[Count], Field(min_length=1)] = Field(default=[42])
    """Seeds of trainings and of the merges made from them."""
    training: dict[
        Name, Annotated[Training, BeforeValidator(_expand_training, json_schema_input_type=Training | Text)]
    ] = Field(default_factory=dict)
    merges: dict[Name, Merge] = Field(default_factory=dict)
    scoring: Scoring = Scoring()
    board: Board = Board()
    resources: dict[Kind, Resources] = Field(default_factory=dict)
    output: Text | None = None
    """Output folder; default: results/run/ and the file's name."""
