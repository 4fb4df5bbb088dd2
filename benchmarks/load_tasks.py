"""Load tasks as lm-eval does before it loads a model: its task manager, then the tasks named on the command line."""

import sys


def main(names: list[str]) -> None:
    """Load the tasks; with names, check that there are eight and that they have rows."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    if names:
        tasks = manager.load(names)["tasks"]
        rows = sum(len(task.test_docs()) for task in tasks.values())
        assert len(tasks) == 8 and rows > 100, (sorted(tasks), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
