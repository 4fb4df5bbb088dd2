"""The step that makes the board of one base model and all that came of it."""

from collections.abc import Sequence

from fin_plugins.experiments.planning.identity import key
from fin_plugins.experiments.planning.scene import Scene
from fin_plugins.experiments.planning.score import Scored
from fin_plugins.experiments.steps import Step, marker


def board(scene: Scene, models: Sequence[Scored]) -> Step:
    """Plan the board. It has exactly the results of these models, whatever else lies in the work folder.

    Its folder has the key in its name, as all others have: a board of an earlier version of the experiment stays.

    Args:
        scene: the base model.
        models: what was scored; the reference is the training with the first seed.
    """
    options = _options(scene, models)
    its_key = key(kind="board", models=[one.key for one in models], options=options)
    name, folder = f"board-{scene.name}", f"board/{scene.name}-{its_key}"
    return Step(
        name=name,
        kind="board",
        key=its_key,
        command=("fin", "board", *(one.written for one in models), "--out", folder, *options, *_names(models)),
        needs=tuple(one.marker for one in models),
        markers=(marker(name, its_key),),
        outputs=(f"{folder}/board.json", f"{folder}/index.html"),
        resources=scene.resources("board"),
        parameters=scene.size.parameters,
    )


def _options(scene: Scene, models: Sequence[Scored]) -> list[str]:
    said, found = scene.config.board, list[str]()
    if any(one.made is None and not one.shots for one in models):
        found += ["--baseline", scene.name]
        reference = scene.label(said.reference, scene.config.seeds[0]) if said.reference else None
        found += ["--reference", reference] if reference in [one.shown for one in models if reference] else []
    for task in scene.tasks.scored(*scene.config.tasks.unseen):
        found += [] if task.seen is False else ["--unseen", task.name]
    return [*found, *([] if said.published else ["--no-published"])]


def _names(models: Sequence[Scored]) -> list[str]:
    """Plain names: an adapter goes by the name that the engine knew it by, others by what was loaded."""
    called = {one.pretrained if one.made is None or not one.made.adapter else one.called: one.shown for one in models}
    return [word for known, shown in called.items() for word in ("--name", f"{known}={shown}")]
