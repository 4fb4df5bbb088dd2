"""The steps that score models (one engine start for a base with all its adapters, one per checkpoint) and the board."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fin_plugins.experiments.model_context import ModelArtifact, ModelContext, step_key
from fin_plugins.experiments.step_plan import Step, marker
from fin_plugins.experiments.task_contents import TaskContent

_BASE = "base"
_BYTES_PER_ROW = 3000  # approximate mean length of a line in a sample file, over the bundled tasks


@dataclass(frozen=True)
class ScoredModel:
    """A model to score, alone or with others on the same engine.

    Attributes:
        engine: name of the step that starts its engine, if all models of the engine are scored.
        name: name of its marker.
        served_name: its name on the engine: `base`, or the adapter's name.
        label: its name on the board.
        pretrained: the model that the engine loads.
        shots: few-shot examples in the prompt.
        artifact: the adapter or checkpoint; None for the base itself.
        key: hash of everything that its scores depend on.
    """

    engine: str
    name: str
    served_name: str
    label: str
    pretrained: str
    shots: int
    artifact: ModelArtifact | None
    key: str

    @property
    def marker(self) -> str:
        """Marker file that says it is scored."""
        return marker(self.name, self.key)

    @property
    def written(self) -> str:
        """File that lists its result files."""
        return f"written/{self.name.removeprefix('score-')}-{self.key}.json"

    @property
    def needs(self) -> tuple[str, ...]:
        """Markers of the step that makes it."""
        return self.artifact.step.markers if self.artifact else ()

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter served by the base's engine."""
        return self.artifact is not None and self.artifact.is_adapter


def models_to_score(context: ModelContext, artifacts: Sequence[ModelArtifact]) -> list[ScoredModel]:
    """All models to score: the base, its adapters, checkpoints, and the base with few-shot examples."""
    base_step, shots = f"score-{context.name}", context.shots
    models = [_scored_model(context, base_step, base_step, 0)] if 0 in shots else []
    for artifact in sorted(artifacts, key=lambda artifact: not artifact.is_adapter):
        name = f"{base_step}-{artifact.label}"
        models.append(_scored_model(context, base_step if artifact.is_adapter else name, name, 0, artifact))
    for count in filter(None, shots):
        name = f"{base_step}-{count}shot"
        models.append(_scored_model(context, name, name, count))
    return models


def scoring_steps(
    context: ModelContext, models: Sequence[ScoredModel], is_scored: Callable[[ScoredModel], bool]
) -> tuple[list[Step], dict[str, str]]:
    """The steps that score models. Models already scored are not scored again with the others of their engine.

    Args:
        context: the base model.
        models: the models, from `models_to_score`.
        is_scored: whether a model is scored already.

    Returns:
        The steps: if some models of an engine are scored and some are not, one step for each group. And the files that
        the commands read, text by path.
    """
    steps, files = [], _include_files(context)
    for engine in dict.fromkeys(model.engine for model in models):
        of_engine = [model for model in models if model.engine == engine]
        pending, scored = ([model for model in of_engine if is_scored(model) is state] for state in (False, True))
        if scored:
            steps.append(_score_step(context, f"{engine}-before" if pending else engine, scored, list(files)))
        if pending:
            steps.append(_score_step(context, engine, pending, list(files)))
    return steps, files


def board_step(context: ModelContext, models: Sequence[ScoredModel]) -> Step:
    """The step that makes the board of exactly these models, whatever else is in the work folder.

    The board's folder ends in the key like all others, so the board of an earlier version of the experiment stays.

    Args:
        context: the base model.
        models: the scored models; the reference is the training with the first seed.
    """
    options = _board_options(context, models)
    key = step_key(kind="board", models=[model.key for model in models], options=options)
    name, folder = f"board-{context.name}", f"board/{context.name}-{key}"
    results = [model.written for model in models]
    return Step(
        name=name,
        kind="board",
        key=key,
        command=("fin", "board", *results, "--out", folder, *options, *_board_names(models)),
        needs=tuple(model.marker for model in models),
        markers=(marker(name, key),),
        outputs=(f"{folder}/board.json", f"{folder}/index.html"),
        resources=context.resources("board"),
        parameters=context.size.parameters,
    )


def tasks_to_score(context: ModelContext) -> list[TaskContent]:
    """The tasks of all protocols that the experiment selects."""
    config = context.config
    choice = context.tasks.to_score(*config.tasks.seen, *config.tasks.unseen)
    generative = [variant for task in choice if (variant := context.tasks.generative_variant(task))]
    return [
        *(choice if "likelihood" in config.protocols else ()),
        *(generative if "generation" in config.protocols else ()),
    ]


def _scored_model(
    context: ModelContext, engine: str, name: str, shots: int, artifact: ModelArtifact | None = None
) -> ScoredModel:
    is_adapter = artifact is not None and artifact.is_adapter
    key = step_key(
        kind="score",
        base=context.content,
        made=[artifact.step.key, artifact.is_adapter] if artifact else None,
        tasks={task.name: task.scoring_inputs(shots) for task in tasks_to_score(context)},
        shots=shots,
        limit=context.config.rows.test,
        chat_template=context.chat_template,
        engine=context.config.scoring.model_dump(mode="json", exclude={"chat_template"}),
        model_args=context.model.model_args,
    )
    return ScoredModel(
        engine=engine,
        name=name,
        served_name=artifact.label if artifact and is_adapter else _BASE,
        label=artifact.label if artifact else context.name,
        pretrained=artifact.path if artifact and not is_adapter else context.path,
        shots=shots,
        artifact=artifact,
        key=key,
    )


def _score_step(context: ModelContext, name: str, models: Sequence[ScoredModel], files: Sequence[str]) -> Step:
    splits = [split for task in tasks_to_score(context) if (split := task.rows("test"))]
    rows = sum(min(split.count, context.config.rows.test or split.count) for split in splits) * len(models)
    return Step(
        name=name,
        kind="score",
        key=step_key(kind="score", models=[model.key for model in models]),
        command=_score_command(context, models, files),
        needs=tuple(dict.fromkeys(path for model in models for path in model.needs)),
        markers=tuple(model.marker for model in models),
        outputs=tuple(model.written for model in models),
        resources=context.resources("score"),
        parameters=context.size.parameters,
        rows=rows,
        bytes=rows * _BYTES_PER_ROW,
        engines=1,
    )


def _score_command(context: ModelContext, models: Sequence[ScoredModel], files: Sequence[str]) -> tuple[str, ...]:
    scoring, limit = context.config.scoring, context.config.rows.test
    arguments = {"pretrained": models[0].pretrained, **scoring.model_args, **context.model.model_args}
    adapters = {model.served_name: model.artifact for model in models if model.artifact and model.is_adapter}
    return (
        *("fin", "eval", "--model", scoring.engine, "--model_args", json.dumps(arguments, ensure_ascii=False)),
        *("--batch_size", str(scoring.batch_size), "--num_fewshot", str(models[0].shots)),
        *(("--apply_chat_template",) if context.chat_template else ()),
        *(("--limit", str(limit)) if limit else ()),
        *(word for file in files for word in ("--config", file)),
        *("--tasks", ",".join(task.name for task in tasks_to_score(context))),
        *(word for name, artifact in adapters.items() for word in ("--adapter", f"{name}={artifact.path}")),
        *(("--no-base",) if len(adapters) == len(models) else ()),
        *("--output_path", "scores", "--log_samples"),
        *(word for model in models for word in ("--written", f"{model.served_name}={model.written}")),
    )


def _include_files(context: ModelContext) -> dict[str, str]:
    """A configuration file with the folders of the user's own tasks: lm-eval's command line takes only one folder."""
    import yaml

    folders = list(context.tasks.files.folders)
    if not folders:
        return {}
    return {f"tasks/{step_key(folders=folders)}.yaml": yaml.safe_dump({"include_path": folders})}


def _board_options(context: ModelContext, models: Sequence[ScoredModel]) -> list[str]:
    board, options = context.config.board, list[str]()
    if any(model.artifact is None and not model.shots for model in models):
        options += ["--baseline", context.name]
        reference = context.label(board.reference, context.config.seeds[0]) if board.reference else None
        if reference and reference in [model.label for model in models]:
            options += ["--reference", reference]
    for task in context.tasks.to_score(*context.config.tasks.unseen):
        if task.seen is not False:
            options += ["--unseen", task.name]
    return [*options, *(() if board.published else ("--no-published",))]


def _board_names(models: Sequence[ScoredModel]) -> list[str]:
    """`--name` options: adapters are known by their served names, other models by what the engine loads."""
    labels = {model.served_name if model.is_adapter else model.pretrained: model.label for model in models}
    return [word for name, label in labels.items() for word in ("--name", f"{name}={label}")]
