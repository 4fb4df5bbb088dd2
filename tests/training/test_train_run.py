"""The folder of a run: lock, identity, `--fresh`, a full disk, and what a killed run leaves."""

import json
import os
import subprocess
from contextlib import contextmanager

import pytest
from safetensors.torch import load_file

from fin_plugins.common.errors import FinError
from fin_plugins.common.file_lock import exclusive
from fin_plugins.training import run_stats, train_loop
from fin_plugins.training.run_stats import last_checkpoint
from tests.full_disk import no_file_larger_than
from tests.training.tiny_runs import losses, run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")

FEW = {"epochs": 1, "checkpoints_per_epoch": 2, "validation": {"rows": 2}}  # 4 steps, checkpoints at 2 and 4


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama3"]


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    """A run that was never interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        return run(model, tmp_path_factory.mktemp("finished") / "out", **FEW)


def fail(*_, **__):
    raise RuntimeError("killed")


def test_a_finished_run_is_not_run_again(finished, model):
    times = {file: file.stat().st_mtime_ns for file in finished.folder.iterdir()}
    assert run(model, finished.folder, **FEW).record == finished.record
    assert {file: file.stat().st_mtime_ns for file in finished.folder.iterdir()} == times


def test_another_run_does_not_overwrite_it(finished, model):
    with pytest.raises(FinError, match=r"differs in learning_rate, lora: .*--fresh"):
        run(model, finished.folder, learning_rate=0.02, **{**FEW, "lora": {"r": 2}})


def test_fresh_deletes_runs_only(model, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FinError, match="--fresh"):
        run(model, tmp_path, fresh=True)
    assert (tmp_path / "thesis.tex").exists()


def test_fresh_trains_again(model, tmp_path):
    first = run(model, tmp_path / "out", max_steps=1, validation="off")
    (tmp_path / "out" / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    again = run(model, tmp_path / "out", max_steps=2, validation="off", fresh=True)
    assert (first.record["steps"], again.record["steps"]) == (1, 2)
    assert again.record["best_step"] is None
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_second_command_is_refused_and_deletes_nothing(model, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    with exclusive(folder, "fin train"):
        for fresh in (False, True):
            with pytest.raises(FinError, match="another `fin train`"):
                run(model, folder, fresh=fresh, **FEW)
        assert (folder / "run.json").is_file()


def test_a_run_that_cannot_begin_leaves_no_folder(model, tmp_path):
    with pytest.raises(FinError, match="max_length"):
        run(model, tmp_path / "out", max_length=3)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_kill_after_the_record_are_removed(model, tmp_path, monkeypatch):
    folder, settings = tmp_path / "out", {**FEW, "validation": "off"}
    write_report = train_loop.write_report

    def killed(*arguments):
        write_report(*arguments)
        fail()

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(train_loop, "write_report", killed)
        run(model, folder, **settings)
    assert (folder / "train.json").is_file() and (folder / "checkpoints").is_dir()
    (folder / ".train.json.0123456789ab.part").write_text("half a rec")
    before = (folder / "train.json").read_bytes()
    run(model, folder, **settings)
    assert (folder / "train.json").read_bytes() == before
    assert not [file for file in folder.iterdir() if file.name == "checkpoints" or file.name.startswith(".")]


@contextmanager
def small_disk(size, folder):
    """A file system of this size, which grows when the context ends."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


@pytest.fixture(scope="module")
def checkpoint_sizes(model, tmp_path_factory):
    """Bytes of each file of a complete checkpoint."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError):
        patch.setenv("FIN_DATA", "sample")
        patch.setattr(run_stats.RunStatsCallback, "on_save", fail)
        run(model, folder, **FEW)
    return [file.stat().st_size for file in (folder / "checkpoints").rglob("*") if file.is_file()]


@pytest.mark.parametrize("full", [no_file_larger_than, small_disk])
def test_a_full_disk_is_one_line_and_the_run_resumes(model, tmp_path, finished, full, checkpoint_sizes):
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for the first checkpoint but not the second; or for all files but the largest, the optimizer's state.
    size = sum(checkpoint_sizes) * 3 // 2 if full is small_disk else max(checkpoint_sizes) - 1
    try:
        with full(size, disk):
            with pytest.raises(FinError, match=r"checkpoint-\d/.*disk is full.*MiB needed") as error:
                run(model, disk / "out", **FEW)
            assert "\n" not in str(error.value)
            assert (last_checkpoint(disk / "out" / "checkpoints") is not None) == (full is small_disk)
        result = run(model, disk / "out", **FEW)
        assert losses(result.folder) == pytest.approx(losses(finished.folder), rel=1e-5)
        assert result.record["resumed"] == (full is small_disk)
    finally:
        if os.path.ismount(disk):
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_an_old_checkpoint_stays_until_the_new_one_is_complete(model, tmp_path, finished, monkeypatch):
    write_text = run_stats.write_text

    def killed(file, text):
        if file.parent.name == "checkpoint-4":
            fail()
        write_text(file, text)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(run_stats, "write_text", killed)
        run(model, tmp_path / "out", **FEW)
    checkpoint, _ = last_checkpoint(tmp_path / "out" / "checkpoints")
    assert checkpoint.name == "checkpoint-2"
    assert losses(run(model, tmp_path / "out", **FEW).folder) == pytest.approx(losses(finished.folder), rel=1e-5)


def test_a_stopped_run_resumes_from_its_last_step_after_a_move(model, tmp_path, monkeypatch):
    """Not from its best checkpoint, which is still the one published."""
    monkeypatch.chdir(tmp_path)
    settings = {**FEW, "learning_rate": 1e-12, "checkpoints_per_epoch": 4}  # nothing changes: the first is the best
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="step 3"):
        patch.setattr(train_loop.StopOnSignal, "on_step_end", stop_at(3))
        run(model, "out", **settings)
    checkpoint, _ = last_checkpoint(tmp_path / "out" / "checkpoints")
    assert checkpoint.name == "checkpoint-3"
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    best = load_file(tmp_path / "moved" / "checkpoints" / "checkpoint-1" / "adapter_model.safetensors")
    result = run(model, tmp_path / "moved", **settings)
    assert (result.record["steps"], result.record["best_step"], result.record["resumed"]) == (4, 1, 1)
    published = load_file(tmp_path / "moved" / "adapter_model.safetensors")
    assert all((weight == published[name]).all() for name, weight in best.items())


def stop_at(step):
    """Ctrl-C in a step."""
    on_step_end = train_loop.StopOnSignal.on_step_end

    def stopped(self, args, state, control, **settings):
        self.stopped = self.stopped or state.global_step == step
        on_step_end(self, args, state, control, **settings)

    return stopped


def test_a_run_killed_after_early_stopping_is_not_trained_further(model, tmp_path, monkeypatch):
    folder, settings = tmp_path / "out", {"learning_rate": 1e-12, "validation": {"rows": 2, "early_stop": 1}}
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(train_loop, "publish_adapter", fail)
        run(model, folder, **settings)
    record = run(model, folder, **settings).record
    assert [point["step"] for point in record["validation_curve"]] == [0, 2, 4]
    assert (record["best_step"], record["planned_steps"]) == (2, 8)
    assert record["steps"] <= 5  # resuming costs one step
    assert f"{record['steps']} steps; stopped early, of 8" in (folder / "README.md").read_text()
    assert json.loads((folder / "train.json").read_text()) == record
