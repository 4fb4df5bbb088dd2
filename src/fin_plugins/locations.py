"""Where the files that ship with the package lie. Standard library only: the start-up file imports this."""

from pathlib import Path


def task_folder() -> Path:
    """The folder of task YAML files: in the package when installed from a wheel, in the repository when editable."""
    package = Path(__file__).resolve().parent
    installed = package / "lm_eval_tasks"
    return installed if installed.is_dir() else package.parents[1] / "lm_eval_tasks"
