"""The folders of the files that ship with the package. Standard library only: the start-up file imports this."""

from pathlib import Path


def task_folder() -> Path:
    """The folder of task YAML files: in the package when installed from a wheel, in the repository when editable."""
    return _shipped("lm_eval_tasks", "lm_eval_tasks")


def training_folder() -> Path:
    """The folder of training configurations, likewise; in the package, `training` is the code."""
    return _shipped("training_configs", "training")


def merge_folder() -> Path:
    """The folder of merge recipes, likewise."""
    return _shipped("merge_recipes", "merge_recipes")


def leaderboard_folder() -> Path:
    """The folder of papers' figures, likewise."""
    return _shipped("leaderboard", "leaderboard")


def experiment_folder() -> Path:
    """The folder of experiment files, Snakefile and profiles, likewise; in the package, `experiments` is the code."""
    return _shipped("experiment_files", "experiments")


def _shipped(installed: str, in_repository: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    folder = package / installed
    return folder if folder.is_dir() else package.parents[1] / in_repository
