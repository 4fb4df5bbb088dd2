"""Test rows and unseen tasks are out of a search's reach, and nothing of them is ever sent to the model."""

import json
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data import guard
from fin_plugins.data.rows import read_rows
from fin_plugins.data.store import read_split
from fin_plugins.scoring.hf import FinHF
from tests.evaluation.making import adapter
from tests.merging.search.worlds import World

pytestmark = pytest.mark.usefixtures("one_thread")


class Sent:
    """All that a search sends to the model; meanwhile it tries to read test rows, as a careless scorer might."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        self.tried: list[set[str]] = []
        score, call = FinHF.loglikelihood, FinHF._model_call

        def loglikelihood(lm: FinHF, requests: Any, **settings: Any) -> Any:
            self.texts += [text for one in requests for text in one.args]
            self.tried.append(set(read_rows("fin_fomc").splits))
            with pytest.raises(FinError, match="test rows cannot be read while"):
                guard.check_open("fomc")
            return score(lm, requests, **settings)

        def model_call(lm: FinHF, tokens: Any, **settings: Any) -> Any:
            self.texts += lm.tokenizer.batch_decode(tokens)
            return call(lm, tokens, **settings)

        patch.setattr(FinHF, "loglikelihood", loglikelihood)
        patch.setattr(FinHF, "_model_call", model_call)

    def holds(self, text: str) -> bool:
        return any(text in sent for sent in self.texts)


@pytest.fixture
def shipped(tmp_path: Path, tiny_models: dict[str, Path], sample_data: None) -> dict[str, Any]:
    """A search over tasks that come with the package."""
    base = tiny_models["base"]
    experts = {"fomc": ["fin_fomc"], "sentiment": ["fin_fpb", "fin_fiqa"]}
    entries = {
        name: {"path": str(adapter(tmp_path / name, base, 1.0 + len(name))), "tasks": tasks}
        for name, tasks in experts.items()
    }
    return {"base": str(base), "experts": entries, "rows": 3, "candidates": 1, "unlabelled": {"rows": 2}}


def search(tmp_path: Path, content: dict[str, Any]) -> Any:
    return World(tmp_path, Path(content["base"])).search("study", **content)


def test_no_test_row_is_read_or_sent(tmp_path: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        sent = Sent(patch)
        done = search(tmp_path, shipped)
    assert done.exit_code == 0, done.output
    assert "no benchmark" in done.stdout and "no benchmark" in (tmp_path / "study" / "study.md").read_text()
    assert sent.tried and all("validation" in splits and "test" not in splits for splits in sent.tried)
    for name in ("fomc", "fpb", "fiqa", "headline", "finred", "argument", "deal", "causal"):
        splits = read_rows(name).splits  # the guard is down again
        assert len(splits["test"]) and not [text for text in splits["test"]["text"] if sent.holds(text)]
    for name in ("fomc", "fpb", "fiqa"):  # what was asked would be found, so that the above can fail
        assert sum(map(sent.holds, read_rows(name).splits["validation"]["text"])) == 3


def test_no_test_row_of_a_task_of_ones_own_is_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        sent = Sent(patch)
        assert world.search("audited", candidates=2).exit_code == 0
    rows = json.loads((world.folder / "rows.json").read_text(encoding="utf-8"))
    for task in ("first", "second"):
        assert not any(sent.holds(row["text"]) for split in ("test", "train") for row in rows[task][split])
        assert all(sent.holds(row["text"]) for row in rows[task]["validation"])


def test_built_test_rows_are_refused_while_weights_are_searched(
    tmp_path: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    score = FinHF.loglikelihood

    def reads_the_test_split(lm: FinHF, requests: Any, **settings: Any) -> Any:
        read_split(tmp_path / "built" / "test.parquet", "fomc", "its hash")
        return score(lm, requests, **settings)

    monkeypatch.setattr(FinHF, "loglikelihood", reads_the_test_split)
    done = search(tmp_path, shipped)
    assert done.exit_code == 1 and "test rows cannot be read while" in str(done.exception)
    assert not guard.closed()


@pytest.mark.parametrize("task", ["fin_argument", "fin_deal", "fin_causal", "fin_causal_full"])
def test_unseen_tasks_are_refused(tmp_path: Path, shipped: dict[str, Any], task: str) -> None:
    shipped["experts"]["fomc"]["tasks"] = [task]
    done = search(tmp_path, shipped)
    assert done.exit_code == 1 and f"{task}: marked as unseen" in str(done.exception)
    assert not (tmp_path / "study").exists()


def test_a_group_of_unseen_tasks_is_refused(tmp_path: Path, shipped: dict[str, Any]) -> None:
    shipped["experts"]["fomc"]["tasks"] = ["fin_unseen"]
    assert isinstance(search(tmp_path, shipped).exception, FinError)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("change", ["test_split: validation", "test_split: null"])
def test_a_task_that_is_tested_on_its_validation_rows_is_refused(world: World, change: str) -> None:
    text = (world.folder / "first.yaml").read_text(encoding="utf-8")
    own = world.folder / "own.yaml"
    own.write_text(text.replace("test_split: test", change), encoding="utf-8")
    experts = world.settings["experts"]
    experts["one"]["tasks"] = [str(own)]
    done = world.search("tested", experts=experts)
    assert "is tested on its validation rows: they may not choose a merge" in str(done.exception)
