"""The steps that merge what was trained: by a recipe, or by looking for the weights."""

from collections.abc import Mapping
from typing import Any

from fin_plugins.experiments.config import Merge
from fin_plugins.experiments.files.settings import as_settings
from fin_plugins.experiments.planning.identity import key
from fin_plugins.experiments.planning.scene import Made, Scene
from fin_plugins.experiments.steps import Step, marker
from fin_plugins.merging.recipes.fill import read_recipe
from fin_plugins.merging.search.config import BEST, SearchConfig

_LINEAR = "task_arithmetic"


def merge(scene: Scene, name: str, seed: int, experts: Mapping[str, Made]) -> Made:
    """Plan a merge by a recipe.

    Args:
        scene: the base model.
        name: of the merge.
        seed: of the experts, and of methods that draw at random.
        experts: the trainings' models by name of the training.

    Raises:
        FinError: there is no such recipe, or it cannot be read.
    """
    said, label = scene.config.merges[name], scene.label(name, seed)
    recipe = read_recipe(str(said.recipe))
    used = {expert: experts[expert] for expert in said.experts}
    its_key = key(
        kind="merge",
        base=scene.content,
        recipe=recipe.file.data,
        experts={expert: made.step.key for expert, made in used.items()},
        said=said.model_dump(mode="json", exclude={"experts", "recipe", "max_rounding"}),
        seed=seed,
    )
    step_name, folder = f"merge-{scene.name}-{label}", f"merged/{label}-{its_key}"
    rank = said.rank or sum(made.rank for made in used.values())
    step = Step(
        name=step_name,
        kind="merge",
        key=its_key,
        command=("fin", "merge", str(said.recipe), *_words(scene, said, used, seed), "--out", folder, "--force"),
        needs=_needs(used.values()),
        markers=(marker(step_name, its_key),),
        outputs=(f"{folder}/{'adapter_config.json' if said.adapter else 'config.json'}", f"{folder}/merge.json"),
        resources=scene.resources("merge"),
        parameters=scene.size.parameters,
        bytes=scene.size.adapter(rank) if said.adapter else scene.size.bytes,
    )
    return Made(label, folder, step, said.adapter, rank)


def search(scene: Scene, name: str, seed: int, experts: Mapping[str, Made]) -> tuple[Made, dict[str, str]]:
    """Plan a search for the weights of a merge.

    Where no candidate keeps the floor, the nearest one is written (`otherwise: nearest`), so that the experiment has a
    model to score; the search's own table says so.

    Returns:
        The best merge, and the search file that the command reads, text by path.
    """
    said, label = scene.config.merges[name], scene.label(name, seed)
    used = {expert: experts[expert] for expert in said.experts}
    config = _search_config(scene, said, used, seed)
    tasks = {
        expert: [task.trained() for given in made.tasks for task in scene.tasks.trained(given)]
        for expert, made in used.items()
    }
    keys = {expert: made.step.key for expert, made in used.items()}
    recipe = read_recipe(str(config["recipe"])).file.data
    its_key = key(
        kind="search", base=scene.content, recipe=recipe, experts=keys, tasks=tasks, said=said.search, seed=seed,
        engine=[scene.config.scoring.engine, config["model_args"], config["chat_template"]],
    )  # fmt: skip
    step_name, folder, file = (
        f"search-{scene.name}-{label}",
        f"merged/{label}-{its_key}",
        f"searches/{label}-{its_key}.yaml",
    )
    checked = SearchConfig.model_validate(config)
    rank = sum(made.rank for made in used.values())
    step = Step(
        name=step_name,
        kind="search",
        key=its_key,
        command=("fin", "merge", "search", file, "--out", folder),
        needs=_needs(used.values()),
        markers=(marker(step_name, its_key),),
        outputs=(f"{folder}/{BEST}/adapter_config.json",),
        resources=scene.resources("search"),
        parameters=scene.size.parameters,
        rows=_passes(scene, checked),
        bytes=scene.size.adapter(rank),
        engines=1,
    )
    return Made(label, f"{folder}/{BEST}", step, adapter=True, rank=rank), {file: _yaml(config)}


def _words(scene: Scene, said: Merge, used: Mapping[str, Made], seed: int) -> list[str]:
    words = ["--base", scene.path]
    words += [word for expert, made in used.items() for word in ("--expert", f"{expert}={made.path}")]
    words += [word for weight in as_settings(said.weights) for word in ("--weight", weight)]
    words += [word for setting in as_settings(said.set) for word in ("--set", setting)]
    words += ["--dtype", said.dtype] if said.dtype else []
    words += ["--as-adapter"] if said.adapter else []
    words += ["--rank", str(said.rank)] if said.rank else []
    words += ["--max-residual", str(said.max_residual)] if said.max_residual is not None else []
    words += ["--max-rounding", str(said.max_rounding)] if said.max_rounding is not None else []
    return [*words, "--seed", str(seed)]


def _search_config(scene: Scene, said: Merge, used: Mapping[str, Made], seed: int) -> dict[str, Any]:
    scoring = scene.config.scoring
    return {
        "base": scene.path,
        "experts": {expert: {"path": made.path, "tasks": list(made.tasks)} for expert, made in used.items()},
        "recipe": said.recipe or _LINEAR,
        "model": scoring.engine,
        "model_args": {**scoring.model_args, **scene.model.model_args},
        "chat_template": scene.chat_template,
        "seed": seed,
        "otherwise": "nearest",
        **(said.search or {}),
    }


def _passes(scene: Scene, config: SearchConfig) -> int:
    """Rows and prompts that the model is asked for all candidates, as `fin merge search --dry-run` counts them."""
    tasks = [
        task for expert in config.experts.values() for given in expert.tasks for task in scene.tasks.trained(given)
    ]
    found = [task.rows("validation") for task in tasks]
    rows = sum(min(split.count, config.rows) for split in found if split)
    return config.count * (2 * rows + config.unlabelled.rows)


def _needs(made: Any) -> tuple[str, ...]:
    return tuple(path for one in made for path in one.step.markers)


def _yaml(config: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
