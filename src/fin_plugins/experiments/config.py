"""What an experiment file may say. Reading one, with file and line for every problem, is `files/read.py`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from fin_plugins.common.validation import Number, Positive, Share, StrictModel, Text, rule

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$")]
"""Of a model, training or merge: part of folder and step names."""
Count = Annotated[int, Number, Field(ge=0)]
Kind = Literal["train", "merge", "search", "score", "board"]


class Resources(StrictModel):
    """What one step of a kind takes. Steps run side by side as far as the machine's, or the profile's, suffice."""

    cores: Positive = 2
    memory_gb: Share = 4
    gpus: Count = 0
    gpu_kind: Text | None = None
    """As the cluster names it, for profiles."""
    hours: Share = 24
    """A cluster stops a step that takes longer."""


class Model(StrictModel):
    """A model to start from."""

    model: Text
    """Folder, hub name, or `demo` for the small model that comes with the package."""
    revision: Text | None = None
    """Of a hub model: branch, tag or commit."""
    score: bool = True
    """Score it as it is; forgetting is counted from it."""
    fewshot: list[Count] | None = None
    """Instead of the experiment's, for this model."""
    train: list[Name] | None = None
    """Which trainings; by default all."""
    merge: list[Name] | None = None
    """Which merges; by default all."""
    chat_template: bool | None = None
    """Instead of the experiment's `scoring.chat_template`: base models have none."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Keys of every training file for this model, as with `fin train --set`."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the engine for this model."""


class Tasks(StrictModel):
    """What is scored: names of tasks or groups, or paths of task files, always the choice task (without `_gen`)."""

    seen: Annotated[list[Text], Field(min_length=1)]
    unseen: list[Text] = Field(default_factory=list)


class Rows(StrictModel):
    """Which rows: at most so many, drawn with the seed (train) or the first (test rows stand in a random order)."""

    data: Literal["real", "sample"] = "real"
    """`sample`: the embedded rows (FIN_DATA=sample), for trying things out."""

    train: Positive | None = None
    """Train rows a task; a training that names a cap itself keeps that one."""
    test: Positive | None = None
    """Test rows a data set, as lm-eval's --limit."""


class Training(StrictModel):
    """One adapter for each model and seed. A bare name stands for the training file alone."""

    file: Text
    """Training file, or the name of a shipped one."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Keys of it, as with `fin train --set`."""


class Merge(StrictModel):
    """One merged model for each model and seed."""

    experts: Annotated[list[Name], Field(min_length=1)]
    """Names of trainings."""
    recipe: Text | None = None
    """Recipe file, or the name of a shipped one. With `search`, the weighted sum that is searched."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the recipe, as with `fin merge --set`."""
    weights: dict[Name, Annotated[float, Number]] = Field(default_factory=dict)
    """Experts' weights, as with `fin merge --weight`."""
    search: dict[str, Any] | None = None
    """Look for the weights: keys of a search file (candidates, rows, sampler, floor …)."""
    adapter: bool = True
    """Write an adapter, which the base's engine serves beside its experts; False: a checkpoint, with its own engine."""
    rank: Positive | None = None
    """Of the adapter, where the recipe is no weighted sum."""
    max_residual: Share | None = None
    """Of that adapter: largest part of the merged change that may be lost."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    max_rounding: Annotated[Share, Field(le=1)] | None = None
    """Of a checkpoint: largest part of the merged change that rounding to `dtype` may lose (0.5 if not said)."""

    @model_validator(mode="after")
    def _recipe_or_search(self) -> "Merge":
        if self.recipe is None and self.search is None:
            raise rule("recipe", "name a recipe, or give `search` to look for the weights")
        if self.search is not None and (self.set or self.weights or not self.adapter or self.rank or self.dtype):
            raise rule("search", "goes with `experts` and `recipe` only: the rest is what the search decides")
        if not self.adapter and (self.rank or self.max_residual):
            raise rule("adapter", "`rank` and `max_residual` are an adapter's, and this is a checkpoint")
        if self.adapter and self.max_rounding is not None:
            raise rule("max_rounding", "is a checkpoint's: set `adapter: false`")
        return self


class Scoring(StrictModel):
    """How everything is scored: `fin eval`'s arguments."""

    engine: Literal["fin_hf", "fin_vllm"] = "fin_hf"
    model_args: dict[str, Any] = Field(default_factory=dict)
    batch_size: Positive | Literal["auto"] = "auto"
    chat_template: bool = True


class Board(StrictModel):
    """The board at the end: `fin board`'s options."""

    reference: Name | None = None
    """The training whose gain counts as the whole, usually the multi-task one."""
    published: bool = True
    """Show papers' own rows."""


def _named(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def _model(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class Experiment(StrictModel):
    """An experiment file."""

    models: Annotated[
        dict[Name, Annotated[Model, BeforeValidator(_model, json_schema_input_type=Model | Text)]], Field(min_length=1)
    ]
    tasks: Tasks
    protocols: Annotated[list[Literal["likelihood", "generation"]], Field(min_length=1)] = Field(
        default=["likelihood", "generation"]
    )
    fewshot: Annotated[list[Count], Field(min_length=1)] = Field(default=[0])
    """Few-shot counts for models as they are; what is trained or merged is scored without examples."""
    rows: Rows = Rows()
    seeds: Annotated[list[Count], Field(min_length=1)] = Field(default=[42])
    """Of trainings, and of what is merged from them."""
    training: dict[Name, Annotated[Training, BeforeValidator(_named, json_schema_input_type=Training | Text)]] = Field(
        default_factory=dict
    )
    merges: dict[Name, Merge] = Field(default_factory=dict)
    scoring: Scoring = Scoring()
    board: Board = Board()
    resources: dict[Kind, Resources] = Field(default_factory=dict)
    output: Text | None = None
    """Folder of all that is made; by default results/run/ and the file's name."""
