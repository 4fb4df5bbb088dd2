"""A run in its own process, to be stopped and killed: `… run_driver WORK SECONDS [PROFILE]`."""

import sys
from pathlib import Path

from fin_plugins.experiments.machine_limits import Limits
from fin_plugins.experiments.snakemake_run import Stopped, run_plan
from tests.experiments.plan_factories import diamond

if __name__ == "__main__":
    try:
        profile = Path(sys.argv[3]) if len(sys.argv) > 3 else None
        limits = None if profile else Limits(2, 4, ())
        outcome = run_plan(diamond(Path(sys.argv[1]), float(sys.argv[2])), limits=limits, profile=profile)
    except Stopped:
        sys.exit(130)
    sys.exit(len(outcome.failed))
