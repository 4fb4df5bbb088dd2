"""What lm-eval does before it loads a model: its task manager, and then the tasks named on the command line."""

import sys

from lm_eval.tasks import TaskManager

manager = TaskManager()
if sys.argv[1:]:
    loaded = manager.load(sys.argv[1:])["tasks"]
    rows = sum(len(task.test_docs()) for task in loaded.values())
    assert len(loaded) == 8 and rows > 100, (sorted(loaded), rows)
