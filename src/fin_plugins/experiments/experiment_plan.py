"""Fetches what an experiment needs and plans its steps: training and merging, then scoring and the board."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import is_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import hash_files
from fin_plugins.experiments.experiment_checks import find_tasks
from fin_plugins.experiments.experiment_config import Experiment, Merge, Training
from fin_plugins.experiments.expert_checks import as_settings, read_training, training_settings
from fin_plugins.experiments.model_context import ModelArtifact, ModelContext, model_context, step_key
from fin_plugins.experiments.scoring_steps import ScoredModel, board_step, models_to_score, scoring_steps
from fin_plugins.experiments.step_plan import Plan, Step, marker
from fin_plugins.experiments.task_contents import TaskContents
from fin_plugins.merging.recipes.recipe_resolution import read_recipe
from fin_plugins.merging.search.search_config import BEST, SearchConfig
from fin_plugins.training.config_loading import read_config
from fin_plugins.training.train_config import TaskShare, TrainConfig

# Keys of a training file that cannot change the adapter, or that count by their content.
_NOT_IN_KEY = {"output", "merge", "model", "tasks", "replay"}
_DEFAULT_SEARCH_RECIPE = "task_arithmetic"


def fetch_inputs(config: Experiment) -> None:
    """Fetch what the steps share: the real rows, and the demo model.

    Raises:
        FinError: something cannot be fetched.
    """
    if config.rows.data == "real":
        _fetch_rows(config)
    if any(model.model == "demo" for model in config.models.values()):
        from fin_plugins.demo import demo_model

        demo_model()


def _fetch_rows(config: Experiment) -> None:
    from fin_plugins.data.builders import build_if_needed
    from fin_plugins.data.dataset_store import current_manifest
    from fin_plugins.data.download import download_progress, fetch_raw, raw_files, say_file
    from fin_plugins.data.sources import find

    model = next(iter(config.models.values()))
    names = [*config.tasks.seen, *config.tasks.unseen]
    names += [share.task for training in config.training.values() for share in read_training(training, model).tasks]
    data_set_names = [task.fin.get("rows") for name in names for task in find_tasks(name)]
    data_sets = [find(name) for name in dict.fromkeys(data_set_names) if name]
    missing = [data_set for data_set in data_sets if current_manifest(data_set) is None]
    if not missing:
        return
    title = f"fetching {', '.join(data_set.task for data_set in missing)}"
    with download_progress(sum(source.bytes for source in raw_files(missing)), title) as on_bytes:
        fetch_raw(missing, None, on_bytes, say_file)
    for data_set in missing:
        build_if_needed(data_set)


def make_plan(config: Experiment, name: str, work: Path) -> Plan:
    """Plan an experiment. Nothing is written.

    The work folder is examined for completed steps, so that models already scored are not scored again with others.

    Args:
        config: the experiment, its paths absolute.
        name: name of the experiment.
        work: work folder.

    Raises:
        FinError: a model, task, recipe or rows cannot be read.
        Problems: all problems of a training file.
    """
    plan = Plan(name, work.absolute(), (), {}, {"FIN_DATA": config.rows.data})
    tasks = TaskContents([*config.tasks.seen, *config.tasks.unseen], config.rows.data)
    for model in config.models:
        plan = _add_model(plan, model_context(config, tasks, model))
    names = [step.name for step in plan.steps]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise FinError(f"{name}: two steps would be called {', '.join(duplicates)}: rename a training or merge")
    return plan


def _add_model(plan: Plan, context: ModelContext) -> Plan:
    artifacts, files = _plan_artifacts(context)
    plan = _extend(plan, [artifact.step for artifact in artifacts], files)
    models = models_to_score(context, artifacts)
    if not models:
        return plan
    pending_markers = {path for step in plan.pending() for path in step.markers}

    def is_scored(model: ScoredModel) -> bool:
        exists = all((plan.work / path).exists() for path in (model.marker, model.written))
        return exists and not pending_markers & set(model.needs)

    steps, files = scoring_steps(context, models, is_scored)
    return _extend(plan, [*steps, board_step(context, models)], files)


def _extend(plan: Plan, steps: list[Step], files: dict[str, str]) -> Plan:
    return Plan(plan.name, plan.work, (*plan.steps, *steps), {**plan.files, **files}, plan.environment)


def _plan_artifacts(context: ModelContext) -> tuple[list[ModelArtifact], dict[str, str]]:
    """All trainings, then all merges, with every seed; and the files that their commands read, text by path."""
    config, model = context.config, context.model
    artifacts: list[ModelArtifact] = []
    files: dict[str, str] = {}
    for seed in config.seeds:
        experts = {name: _plan_training(context, name, seed) for name in _selected(model.train, config.training)}
        artifacts += experts.values()
        for name in _selected(model.merge, config.merges):
            merge = config.merges[name]
            if missing := [expert for expert in merge.experts if expert not in experts]:
                raise FinError(f"models.{context.name}.train: lacks {', '.join(missing)}, which {name} merges")
            inputs = {expert: experts[expert] for expert in merge.experts}
            if merge.search is None:
                artifacts.append(_plan_merge(context, name, seed, inputs))
            else:
                artifact, search_files = _plan_search(context, name, seed, inputs)
                artifacts.append(artifact)
                files |= search_files
    return sorted(artifacts, key=lambda artifact: artifact.step.kind != "train"), files


def _selected(names: list[str] | None, known: Iterable[str]) -> list[str]:
    return list(known if names is None else names)


def _plan_training(context: ModelContext, name: str, seed: int) -> ModelArtifact:
    training, label = context.config.training[name], context.label(name, seed)
    config, settings = _training_config(context, training, seed)
    key = step_key(kind="train", base=context.content, **_training_inputs(context, config))
    step_name, folder = f"train-{context.name}-{label}", f"train/{label}-{key}"
    is_adapter = config.method != "full"
    step = Step(
        name=step_name,
        kind="train",
        key=key,
        command=("fin", "train", training.file, *_flags("--set", settings), "--out", folder),
        needs=(),
        markers=(marker(step_name, key),),
        outputs=(f"{folder}/{_config_file(is_adapter)}", f"{folder}/train.json"),
        resources=context.resources("train"),
        parameters=context.size.parameters,
        rows=_training_rows(context, config) + _validation_rows(context, config),
        bytes=context.size.adapter_bytes(config.lora.r) if is_adapter else context.size.bytes,
    )
    return ModelArtifact(label, folder, step, is_adapter, config.lora.r, tuple(share.task for share in config.tasks))


def _training_config(context: ModelContext, training: Training, seed: int) -> tuple[TrainConfig, list[str]]:
    """The training configuration for this model and seed, and the settings that change the file into it."""
    settings = [*training_settings(training, context.model), *as_settings({"model": context.path, "seed": seed})]
    config = read_config(training.file, settings).config
    cap = context.config.rows.train
    if cap is None or all(share.cap is not None for share in config.tasks):
        return config, settings
    shares = [share.model_copy(update={"cap": share.cap or cap}) for share in config.tasks]
    settings += as_settings({"tasks": [share.model_dump(mode="json", exclude_defaults=True) for share in shares]})
    return read_config(training.file, settings).config, settings


def _training_inputs(context: ModelContext, config: TrainConfig) -> dict[str, Any]:
    """Everything that the adapter depends on, beside the base model."""
    shares = [
        (
            share.model_dump(exclude={"task"}),
            [task.training_inputs() for task in context.tasks.to_train(share.task)],
        )
        for share in config.tasks
    ]
    replay = config.replay.model_dump(mode="json") if config.replay else {}
    return {
        "config": config.model_dump(mode="json", exclude=_NOT_IN_KEY),
        "tasks": shares,
        "replay": {name: _file_content(value) if isinstance(value, str) else value for name, value in replay.items()},
    }


def _file_content(text: str) -> Any:
    """The content hash of a file; other text as it is."""
    return list(hash_files([Path(text)], Path(text).parent).values()) if is_file(text) else text


def _training_rows(context: ModelContext, config: TrainConfig) -> int:
    """Train rows × epochs, limited by `max_steps`."""
    rows = sum(_share_rows(context, share) for share in config.tasks) * (
        1 + (config.replay.ratio if config.replay else 0)
    )
    requested = math.ceil(rows * config.epochs)
    limit = (config.max_steps or requested) * config.batch_size * config.gradient_accumulation
    return min(requested, limit)


def _share_rows(context: ModelContext, share: TaskShare) -> int:
    splits = [task.rows("training") for task in context.tasks.to_train(share.task)]
    counts = [split.count if split else 0 for split in splits]
    return sum(min(count, share.cap or count) for count in counts) * share.repeat


def _validation_rows(context: ModelContext, config: TrainConfig) -> int:
    """Validation rows × checkpoints."""
    if config.validation is None:
        return 0
    splits = [task.rows("validation") for share in config.tasks for task in context.tasks.to_train(share.task)]
    rows = sum(min(split.count, config.validation.rows) for split in splits if split)
    return rows * (1 + math.ceil(config.epochs * config.checkpoints_per_epoch))  # once before training


def _plan_merge(context: ModelContext, name: str, seed: int, experts: Mapping[str, ModelArtifact]) -> ModelArtifact:
    """Plan a merge by a recipe.

    Args:
        context: the base model.
        name: name of the merge.
        seed: seed of the experts, and of merge methods that sample.
        experts: the experts by name of the training.

    Raises:
        FinError: the recipe does not exist or cannot be read.
    """
    merge, label = context.config.merges[name], context.label(name, seed)
    key = step_key(
        kind="merge",
        base=context.content,
        recipe=read_recipe(str(merge.recipe)).file.data,
        experts={expert: artifact.step.key for expert, artifact in experts.items()},
        said=merge.model_dump(mode="json", exclude={"experts", "recipe", "max_rounding"}),
        seed=seed,
    )
    step_name, folder = f"merge-{context.name}-{label}", f"merged/{label}-{key}"
    rank = merge.rank or sum(artifact.rank for artifact in experts.values())
    options = _merge_options(context, merge, experts, seed)
    step = Step(
        name=step_name,
        kind="merge",
        key=key,
        command=("fin", "merge", str(merge.recipe), *options, "--out", folder, "--force"),
        needs=_markers(experts),
        markers=(marker(step_name, key),),
        outputs=(f"{folder}/{_config_file(merge.adapter)}", f"{folder}/merge.json"),
        resources=context.resources("merge"),
        parameters=context.size.parameters,
        bytes=context.size.adapter_bytes(rank) if merge.adapter else context.size.bytes,
    )
    return ModelArtifact(label, folder, step, merge.adapter, rank)


def _merge_options(context: ModelContext, merge: Merge, experts: Mapping[str, ModelArtifact], seed: int) -> list[str]:
    return [
        *("--base", context.path),
        *_flags("--expert", [f"{name}={artifact.path}" for name, artifact in experts.items()]),
        *_flags("--weight", as_settings(merge.weights)),
        *_flags("--set", as_settings(merge.set)),
        *(("--dtype", merge.dtype) if merge.dtype else ()),
        *(("--as-adapter",) if merge.adapter else ()),
        *(("--rank", str(merge.rank)) if merge.rank else ()),
        *(("--max-residual", str(merge.max_residual)) if merge.max_residual is not None else ()),
        *(("--max-rounding", str(merge.max_rounding)) if merge.max_rounding is not None else ()),
        *("--seed", str(seed)),
    ]


def _plan_search(
    context: ModelContext, name: str, seed: int, experts: Mapping[str, ModelArtifact]
) -> tuple[ModelArtifact, dict[str, str]]:
    """Plan a search for the weights of a merge.

    If no candidate reaches the floor, the nearest one is written (`otherwise: nearest`), so that there is a model to
    score; the search's own table reports this.

    Returns:
        The best merge, and the search file that the command reads, text by path.
    """
    import yaml

    merge, label = context.config.merges[name], context.label(name, seed)
    data = _search_data(context, merge, experts, seed)
    key = step_key(
        kind="search",
        base=context.content,
        recipe=read_recipe(str(data["recipe"])).file.data,
        experts={expert: artifact.step.key for expert, artifact in experts.items()},
        tasks={
            expert: [task.training_inputs() for task in context.tasks.to_train(*artifact.tasks)]
            for expert, artifact in experts.items()
        },
        said=merge.search,
        seed=seed,
        engine=[context.config.scoring.engine, data["model_args"], data["chat_template"]],
    )
    step_name, folder, file = f"search-{context.name}-{label}", f"merged/{label}-{key}", f"searches/{label}-{key}.yaml"
    config = SearchConfig.model_validate(data)
    rank = sum(artifact.rank for artifact in experts.values())
    step = Step(
        name=step_name,
        kind="search",
        key=key,
        command=("fin", "merge", "search", file, "--out", folder),
        needs=_markers(experts),
        markers=(marker(step_name, key),),
        outputs=(f"{folder}/{BEST}/adapter_config.json",),
        resources=context.resources("search"),
        parameters=context.size.parameters,
        rows=_search_rows(context, config),
        bytes=context.size.adapter_bytes(rank),
        engines=1,
    )
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return ModelArtifact(label, f"{folder}/{BEST}", step, is_adapter=True, rank=rank), {file: text}


def _search_data(
    context: ModelContext, merge: Merge, experts: Mapping[str, ModelArtifact], seed: int
) -> dict[str, Any]:
    """Content of the search file."""
    scoring = context.config.scoring
    return {
        "base": context.path,
        "experts": {name: {"path": expert.path, "tasks": list(expert.tasks)} for name, expert in experts.items()},
        "recipe": merge.recipe or _DEFAULT_SEARCH_RECIPE,
        "model": scoring.engine,
        "model_args": {**scoring.model_args, **context.model.model_args},
        "chat_template": context.chat_template,
        "seed": seed,
        "otherwise": "nearest",
        **(merge.search or {}),
    }


def _search_rows(context: ModelContext, config: SearchConfig) -> int:
    """Rows and prompts over all candidates, as `fin merge search --dry-run` counts them."""
    names = [name for expert in config.experts.values() for name in expert.tasks]
    splits = [task.rows("validation") for task in context.tasks.to_train(*names)]
    rows = sum(min(split.count, config.rows) for split in splits if split)
    return config.count * (2 * rows + config.unlabelled.rows)


def _markers(experts: Mapping[str, ModelArtifact]) -> tuple[str, ...]:
    return tuple(path for artifact in experts.values() for path in artifact.step.markers)


def _config_file(is_adapter: bool) -> str:
    return "adapter_config.json" if is_adapter else "config.json"


def _flags(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
