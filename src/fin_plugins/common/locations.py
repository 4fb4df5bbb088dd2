"""Folders of the files that ship with the package. Standard library only: the lm-eval hook imports this."""

from pathlib import Path


def task_folder() -> Path:
    """The folder of task YAML files: inside the package if installed from a wheel, in the repository if editable."""
    return _bundled_folder("lm_eval_tasks", "lm_eval_tasks")


def training_folder() -> Path:
    """The folder of training configurations. In a wheel its name differs: `training` is the code."""
    return _bundled_folder("training_configs", "training")


def merge_folder() -> Path:
    """The folder of merge recipes."""
    return _bundled_folder("merge_recipes", "merge_recipes")


def leaderboard_folder() -> Path:
    """The folder of results published in papers."""
    return _bundled_folder("leaderboard", "leaderboard")


def experiment_folder() -> Path:
    """The folder of experiment files, Snakefile and profiles; renamed in a wheel, where `experiments` is the code."""
    return _bundled_folder("experiment_files", "experiments")


def _bundled_folder(installed: str, in_repository: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    folder = package / installed
    return folder if folder.is_dir() else package.parents[1] / in_repository
