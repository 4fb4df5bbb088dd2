"""A run in a process of its own, to be stopped and killed: `python -m tests.experiments.running.drive WORK SECONDS`."""

import sys
from pathlib import Path

from fin_plugins.experiments.running.run import Stopped, run_plan
from fin_plugins.experiments.running.snakemake import Limits
from tests.experiments.running.plans import diamond

if __name__ == "__main__":
    try:
        outcome = run_plan(diamond(Path(sys.argv[1]), float(sys.argv[2])), limits=Limits(2, 4, ()))
    except Stopped:
        sys.exit(130)
    sys.exit(len(outcome.failed))
