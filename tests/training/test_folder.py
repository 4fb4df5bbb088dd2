"""The folder of a run: one command at a time, a disk that runs full, and what a killed run leaves."""

import json
import os
import subprocess
from contextlib import contextmanager

import pytest
from safetensors.torch import load_file

from fin_plugins.common.errors import FinError
from fin_plugins.common.file_lock import exclusive
from fin_plugins.training import fit
from fin_plugins.training import run as running
from fin_plugins.training.ledger import last_whole
from tests.full_disk import no_file_larger_than
from tests.training.running import losses, run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")

FEW = {"epochs": 1, "checkpoints_per_epoch": 2, "validation": {"rows": 2}}  # 4 steps, checkpoints at 2 and 4


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama3"]


@pytest.fixture(scope="module")
def unbroken(model, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        return run(model, tmp_path_factory.mktemp("unbroken") / "out", **FEW)


def test_a_second_command_is_refused_and_fresh_deletes_nothing(model, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    with exclusive(folder, "fin train"):
        for fresh in (False, True):
            with pytest.raises(FinError, match="another `fin train` works there"):
                run(model, folder, fresh=fresh, **FEW)
        assert (folder / "run.json").is_file()


def test_a_run_that_cannot_begin_leaves_no_folder(model, tmp_path):
    with pytest.raises(FinError, match="short enough"):
        run(model, tmp_path / "out", max_length=3)
    assert list(tmp_path.iterdir()) == []


def test_fresh_removes_all_but_the_lock(tmp_path):
    folder = tmp_path / "out"
    (folder / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    with exclusive(folder, "fin train"):
        running._clear(folder)
        assert [file.name for file in folder.iterdir()] == [".lock"]


def test_what_a_kill_behind_the_record_left_goes_at_the_next_start(model, tmp_path, monkeypatch):
    folder, write_report = tmp_path / "out", fit.write_report

    def killed(*arguments):
        write_report(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit, "write_report", killed)
        run(model, folder, **{**FEW, "validation": "off"})
    assert (folder / "train.json").is_file() and (folder / "checkpoints").is_dir()
    (folder / ".train.json.0123456789ab.part").write_text("half a rec")
    before = (folder / "train.json").read_bytes()
    run(model, folder, **{**FEW, "validation": "off"})
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


@pytest.mark.parametrize("full", [no_file_larger_than, small_disk])
def test_a_full_disk_is_one_line_and_the_run_goes_on(model, tmp_path, unbroken, full):
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for the first checkpoint but not for the second; or for all files but the largest, the optimizer's numbers.
    sizes = checkpoint_sizes(model, tmp_path / "measured")
    size = sum(sizes) * 3 // 2 if full is small_disk else max(sizes) - 1
    try:
        with full(size, disk):
            with pytest.raises(FinError, match=r"checkpoint-\d/.*the disk is full.*MiB needed.*make room") as error:
                run(model, disk / "out", **FEW)
            assert "\n" not in str(error.value)
            assert (last_whole(disk / "out" / "checkpoints") is not None) == (full is small_disk)
        result = run(model, disk / "out", **FEW)
        assert losses(result.folder) == pytest.approx(losses(unbroken.folder), rel=1e-5)
        assert result.record["resumed"] == (full is small_disk)
    finally:
        if os.path.ismount(disk):
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def checkpoint_sizes(model, folder):
    """Bytes of each file of a whole checkpoint; the process ends behind it."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="ended"):
        patch.setattr(fit.Keeper, "on_save", ended)
        run(model, folder, **FEW)
    return [file.stat().st_size for file in (folder / "checkpoints").rglob("*") if file.is_file()]


def ended(*_, **__):
    raise RuntimeError("ended")


def test_an_old_checkpoint_stays_until_the_new_one_is_whole(model, tmp_path, unbroken, monkeypatch):
    from fin_plugins.training import ledger

    mark = ledger.write_text

    def killed(file, text):
        if file.parent.name == "checkpoint-4":
            raise RuntimeError("ended")
        mark(file, text)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="ended"):
        patch.setattr(ledger, "write_text", killed)
        run(model, tmp_path / "out", **FEW)
    checkpoint, _ = last_whole(tmp_path / "out" / "checkpoints")
    assert checkpoint.name == "checkpoint-2"
    assert losses(run(model, tmp_path / "out", **FEW).folder) == pytest.approx(losses(unbroken.folder), rel=1e-5)


def test_a_stopped_run_goes_on_from_its_last_step_wherever_it_is_moved(model, tmp_path, monkeypatch):
    """Not from its best checkpoint; and the best, whose path was written down, is still the one that is kept."""
    monkeypatch.chdir(tmp_path)
    settings = {**FEW, "learning_rate": 1e-12, "checkpoints_per_epoch": 4}  # nothing changes: the first is the best
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="step 3"):
        patch.setattr(fit.StopOnSignal, "on_step_end", stop_at(3))
        run(model, "out", **settings)
    checkpoint, _ = last_whole(tmp_path / "out" / "checkpoints")
    assert checkpoint.name == "checkpoint-3"
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    best = load_file(tmp_path / "moved" / "checkpoints" / "checkpoint-1" / "adapter_model.safetensors")
    result = run(model, tmp_path / "moved", **settings)
    assert (result.record["steps"], result.record["best_step"], result.record["resumed"]) == (4, 1, 1)
    kept = load_file(tmp_path / "moved" / "adapter_model.safetensors")
    assert all((weight == kept[name]).all() for name, weight in best.items())


def stop_at(step):
    """Ctrl-C in a step."""
    usual = fit.StopOnSignal.on_step_end

    def stopped(self, args, state, control, **settings):
        self.stopped = self.stopped or state.global_step == step
        usual(self, args, state, control, **settings)

    return stopped


def test_a_run_that_was_stopped_early_and_killed_is_not_trained_on(model, tmp_path, monkeypatch):
    folder, settings = tmp_path / "out", {"learning_rate": 1e-12, "validation": {"rows": 2, "early_stop": 1}}

    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(fit, "take_over", killed)
        run(model, folder, **settings)
    record = run(model, folder, **settings).record
    assert [check["step"] for check in record["validation_curve"]] == [0, 2, 4]
    assert (record["best_step"], record["planned_steps"]) == (2, 8)
    assert record["steps"] <= 5  # one step is the price of going on
    assert f"{record['steps']} steps; stopped early, of 8" in (folder / "README.md").read_text()
    assert json.loads((folder / "train.json").read_text()) == record
