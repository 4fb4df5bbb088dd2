"""Plans of real little programs, run by Snakemake."""

import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fin_plugins.common import file_lock
from fin_plugins.common.errors import FinError
from fin_plugins.experiments.config import Resources
from fin_plugins.experiments.running import prepare, record, snakemake
from fin_plugins.experiments.running.run import run_plan
from fin_plugins.experiments.running.snakemake import Limits
from fin_plugins.experiments.running.told import failures
from fin_plugins.experiments.steps import Plan, Step
from tests.experiments.running.plans import KEY, WHOLE, diamond, ran, step, two

HERE = Limits(2, 4, ())


def test_order_is_kept_and_nothing_is_done_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = diamond(tmp_path / "ein Ordner, ö, {1} und $2")
    assert run_plan(plan, limits=HERE).failed == {}
    assert ran(plan.work)[0] == "first" and ran(plan.work)[-1] == "last" and len(ran(plan.work)) == 4
    assert (plan.work / "made/last").read_text() == WHOLE
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("fin run: [4/4] last done in ") for line in lines)

    (plan.work / "made/first").touch()  # newer than all that was made of it
    (plan.work / f"done/first-{KEY}.json").touch()
    assert run_plan(plan, limits=HERE).failed == {} and len(ran(plan.work)) == 4

    (plan.work / "made/left").unlink()  # what stands on it runs again; what it stands on does not
    left_by_a_kill = [plan.work / f"{folder}/.x.json.0123456789ab.part" for folder in (".", "done", "running")]
    for file in left_by_a_kill:
        file.touch()
    assert run_plan(plan, limits=HERE).failed == {}
    assert not any(file.exists() for file in left_by_a_kill)
    assert ran(plan.work)[4:] == ["left", "last"]

    found = record.record(plan)
    assert (found["steps"], found["open"], found["kinds"]["train"]["steps"]) == (4, 0, 4)
    assert record.markdown(found).count("\n") == 4 and "peak memory" in record.table(found)


def test_steps_run_side_by_side_within_cores_and_memory(tmp_path: Path) -> None:
    # Each notes when it began and ended; the big one asks for more memory than there is, and runs alone.
    code = """
import pathlib, sys, time
began = time.time()
time.sleep(1.5)
pathlib.Path(sys.argv[1]).parent.mkdir(exist_ok=True)
pathlib.Path(sys.argv[1]).write_text(f"{began} {time.time()}")
"""
    big = step("big", code=code, resources=Resources(cores=1, memory_gb=64))
    plan = Plan("demo", tmp_path, (step("a", code=code), step("b", code=code), step("c", code=code), big))
    assert prepare.check_fit(plan.steps, HERE) == [
        "big: declared to take more memory than the 4 GB here; tried"
    ]  # fmt: skip
    assert run_plan(plan, limits=HERE).failed == {}
    times = {one: tuple(map(float, (tmp_path / f"made/{one}").read_text().split())) for one in ("a", "b", "c", "big")}
    at_once = [sum(began <= moment < ended for began, ended in times.values()) for moment, _ in times.values()]
    assert max(at_once) == 2
    began, ended = times.pop("big")
    assert all(other_ended <= began or other_began >= ended for other_began, other_ended in times.values())


def test_what_does_not_need_a_failed_step_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = step("left", ["first"], code="print('the model is not there'); raise SystemExit(1)")
    plan = Plan("demo", tmp_path, tuple(bad if one.name == "left" else one for one in diamond(tmp_path).steps))
    outcome = run_plan(plan, limits=HERE)
    assert outcome.failed == {"left": "it ended with exit status 1"} and outcome.waiting == ("last",)
    assert sorted(ran(tmp_path)) == ["first", "right"]
    said = failures(plan, outcome)
    assert (
        "the model is not there" in said
        and f"its log: {tmp_path / bad.log}" in said
        and "not run for that: last" in said
    )
    assert "left FAILED after" in capsys.readouterr().err

    assert run_plan(diamond(tmp_path), limits=HERE).failed == {}  # mended: the same call goes on
    assert sorted(ran(tmp_path)) == ["first", "last", "left", "right"]


def test_two_runs_at_once_on_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        file_lock.exclusive(tmp_path, "fin run"),
        pytest.raises(FinError, match=r"another `fin run` works there .process"),
    ):
        run_plan(two(tmp_path), limits=HERE)
    with file_lock.exclusive(tmp_path, "fin run"):
        pass  # nothing is left to be cleared away


def test_snakemake_s_own_refusal_is_told(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"before any step: .*--no-such-flag"):
        run_plan(two(tmp_path), limits=HERE, more=["--no-such-flag"])


def test_more_gpus_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one: Step = replace(step("one"), resources=Resources(gpus=2))
    with pytest.raises(FinError, match=r"one: takes 2 GPUs, and there are 0 here: set resources.train.gpus=0"):
        prepare.check_fit([one], HERE)
    assert prepare.check_fit([one], Limits(2, 64, ("0", "1"))) == []
    assert "no step declares a GPU" in prepare.check_fit([step("one")], Limits(2, 64, ("0",)))[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert prepare.limits(None, None, 1).gpus == ("4",) and prepare.limits(3, 5, None) == Limits(3, 5, ("4", "7"))
    with pytest.raises(FinError, match="--gpus 3: this machine has 2"):
        prepare.limits(None, None, 3)


def test_profiles_by_name_and_folder(tmp_path: Path) -> None:
    for name in ("slurm", "kubernetes"):
        assert (snakemake.profile_folder(name) / "config.yaml").is_file()
    (tmp_path / "config.yaml").write_text("jobs: 3\n")
    assert snakemake.profile_folder(str(tmp_path)) == tmp_path
    with pytest.raises(FinError, match=r"--profile slrum: .* shipped are kubernetes, slurm"):
        snakemake.profile_folder("slrum")


def test_signals_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    plan = two(tmp_path)
    start = time.monotonic()
    for one in plan.steps:
        for path in (*one.markers, *one.outputs):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).touch()
    assert run_plan(plan, limits=HERE).failed == {}
    assert time.monotonic() - start < 1  # Snakemake is not started where all is done
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
