"""The steps that score models: one engine start for a base with all its adapters, one for each checkpoint."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fin_plugins.experiments.planning.identity import Task, key
from fin_plugins.experiments.planning.scene import Made, Scene
from fin_plugins.experiments.steps import Step, marker

_BASE = "base"
_BYTES = 3000  # of a row's line in a sample file, by a rough mean over the shipped tasks


@dataclass(frozen=True)
class Scored:
    """A model that is to be scored, on its own or beside others on their engine.

    Attributes:
        engine: name of the step that starts its engine, were it to score all models on it.
        name: its own, for its marker.
        called: what the engine calls it: `base`, or the adapter's name.
        shown: what the board is to call it.
        pretrained: what the engine loads.
        shots: examples in the prompt.
        made: what it is made by; None for the base as it is.
        key: of all that its scores depend on.
    """

    engine: str
    name: str
    called: str
    shown: str
    pretrained: str
    shots: int
    made: Made | None
    key: str

    @property
    def marker(self) -> str:
        """Says that it is scored."""
        return marker(self.name, self.key)

    @property
    def written(self) -> str:
        """Lists the files that its results are in."""
        return f"written/{self.name.removeprefix('score-')}-{self.key}.json"

    @property
    def needs(self) -> tuple[str, ...]:
        """The marker of what makes it."""
        return self.made.step.markers if self.made else ()


def scored(scene: Scene, made: Sequence[Made]) -> list[Scored]:
    """All models that are to be scored, the base first."""
    name, shots = f"score-{scene.name}", scene.shots
    found = [_scored(scene, name, name, 0)] if 0 in shots else []
    found += [_scored(scene, name, f"{name}-{one.label}", 0, one) for one in made if one.adapter]
    for one in made:
        if not one.adapter:
            found.append(_scored(scene, f"{name}-{one.label}", f"{name}-{one.label}", 0, one))
    for count in shots:
        if count:
            found.append(_scored(scene, f"{name}-{count}shot", f"{name}-{count}shot", count))
    return found


def steps(scene: Scene, models: Sequence[Scored], is_done: Callable[[Scored], bool]) -> tuple[list[Step], Any]:
    """The steps that score them. Models that are scored already are not scored again with the others of their engine.

    Args:
        scene: the base model.
        models: of `scored`.
        is_done: whether a model is scored already.

    Returns:
        The steps: of an engine that has some models to score and some that are done, one step each. And the files that
        the commands read, text by path.
    """
    found, files = [], _include_paths(scene)
    for engine in dict.fromkeys(one.engine for one in models):
        of_engine = [one for one in models if one.engine == engine]
        to_do, done = ([one for one in of_engine if is_done(one) is state] for state in (False, True))
        found += [_step(scene, f"{engine}-before" if to_do else engine, done, list(files))] if done else []
        found += [_step(scene, engine, to_do, list(files))] if to_do else []
    return found, files


def asked(scene: Scene) -> list[Task]:
    """The tasks of all protocols that the experiment asks for."""
    config = scene.config
    choice = scene.tasks.scored(*config.tasks.seen, *config.tasks.unseen)
    twins = [twin for task in choice if (twin := scene.tasks.twin(task))]
    return [*(choice if "likelihood" in config.protocols else ()), *(twins if "generation" in config.protocols else ())]


def _scored(scene: Scene, engine: str, name: str, shots: int, made: Made | None = None) -> Scored:
    is_adapter = made is not None and made.adapter
    its_key = key(
        kind="score",
        base=scene.content,
        made=[made.step.key, made.adapter] if made else None,
        tasks={task.name: task.scored(shots) for task in asked(scene)},
        shots=shots,
        limit=scene.config.rows.test,
        chat_template=scene.chat_template,
        engine=scene.config.scoring.model_dump(mode="json", exclude={"chat_template"}),
        model_args=scene.model.model_args,
    )
    return Scored(
        engine=engine,
        name=name,
        called=made.label if made and is_adapter else _BASE,
        shown=made.label if made else scene.name,
        pretrained=made.path if made and not is_adapter else scene.path,
        shots=shots,
        made=made,
        key=its_key,
    )


def _step(scene: Scene, name: str, models: Sequence[Scored], files: Sequence[str]) -> Step:
    rows = sum(min(split.count, scene.config.rows.test or split.count) for split in _test(scene)) * len(models)
    return Step(
        name=name,
        kind="score",
        key=key(kind="score", models=[one.key for one in models]),
        command=_command(scene, models, files),
        needs=tuple(dict.fromkeys(path for one in models for path in one.needs)),
        markers=tuple(one.marker for one in models),
        outputs=tuple(one.written for one in models),
        resources=scene.resources("score"),
        parameters=scene.size.parameters,
        rows=rows,
        bytes=rows * _BYTES,
        engines=1,
    )


def _test(scene: Scene) -> Any:
    return filter(None, (task.rows("test") for task in asked(scene)))


def _command(scene: Scene, models: Sequence[Scored], files: Sequence[str]) -> tuple[str, ...]:
    scoring, first = scene.config.scoring, models[0]
    arguments = {"pretrained": first.pretrained, **scoring.model_args, **scene.model.model_args}
    adapters = [one for one in models if one.made and one.made.adapter]
    words = ["fin", "eval", "--model", scoring.engine, "--model_args", json.dumps(arguments, ensure_ascii=False)]
    words += ["--batch_size", str(scoring.batch_size), "--num_fewshot", str(first.shots)]
    words += ["--apply_chat_template"] if scene.chat_template else []
    words += ["--limit", str(scene.config.rows.test)] if scene.config.rows.test else []
    words += [word for file in files for word in ("--config", file)]
    words += ["--tasks", ",".join(task.name for task in asked(scene))]
    words += [word for one in adapters if one.made for word in ("--adapter", f"{one.called}={one.made.path}")]
    words += ["--no-base"] if len(adapters) == len(models) else []
    words += ["--output_path", "scores", "--log_samples"]
    return (*words, *(word for one in models for word in ("--written", f"{one.called}={one.written}")))


def _include_paths(scene: Scene) -> dict[str, str]:
    """A file that tells lm-eval of the folders of the user's own tasks; its command line takes a single one."""
    import yaml

    folders = list(scene.tasks.files.folders)
    return {f"tasks/{key(folders=folders)}.yaml": yaml.safe_dump({"include_path": folders})} if folders else {}
