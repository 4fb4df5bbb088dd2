"""Test rows and unseen tasks are blocked in a search, and no test row reaches the model."""

import json
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data import split_guard
from fin_plugins.data.dataset_rows import read_rows
from fin_plugins.data.dataset_store import read_split
from fin_plugins.merging.search.study_report import SAMPLE_WARNING
from fin_plugins.scoring.fin_hf import FinHF
from tests.merging.model_factories import make_adapter
from tests.merging.search.search_factories import SearchWorld

pytestmark = pytest.mark.usefixtures("one_thread")


class SentTexts:
    """Everything that a search sends to the model; with each request it tries to read test rows."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        self.visible_splits: list[set[str]] = []
        score, call = FinHF.loglikelihood, FinHF._model_call

        def loglikelihood(lm: FinHF, requests: Any, **settings: Any) -> Any:
            self.texts += [text for request in requests for text in request.args]
            self.visible_splits.append(set(read_rows("fin_fomc").splits))
            with pytest.raises(FinError, match="test rows"):
                split_guard.assert_test_allowed("fomc")
            return score(lm, requests, **settings)

        def model_call(lm: FinHF, tokens: Any, **settings: Any) -> Any:
            self.texts += lm.tokenizer.batch_decode(tokens)
            return call(lm, tokens, **settings)

        patch.setattr(FinHF, "loglikelihood", loglikelihood)
        patch.setattr(FinHF, "_model_call", model_call)

    def contains(self, text: str) -> bool:
        return any(text in sent for sent in self.texts)


@pytest.fixture
def bundled(tmp_path: Path, tiny_models: dict[str, Path], sample_data: None) -> dict[str, Any]:
    """Content of a search file with bundled tasks."""
    base = tiny_models["base"]
    experts = {"fomc": ["fin_fomc"], "sentiment": ["fin_fpb", "fin_fiqa"]}
    entries = {
        name: {"path": str(make_adapter(tmp_path / name, base, len(name), 1.0)), "tasks": tasks}
        for name, tasks in experts.items()
    }
    return {"base": str(base), "experts": entries, "rows": 3, "candidates": 1, "unlabelled": {"rows": 2}}


def search(tmp_path: Path, content: dict[str, Any]) -> Any:
    return SearchWorld(tmp_path, Path(content["base"])).search("study", **content)


def test_no_test_row_is_read_or_sent(tmp_path: Path, bundled: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        sent = SentTexts(patch)
        result = search(tmp_path, bundled)
    assert result.exit_code == 0, result.output
    assert SAMPLE_WARNING in result.stdout and SAMPLE_WARNING in (tmp_path / "study" / "study.md").read_text()
    assert sent.visible_splits and all(
        "validation" in splits and "test" not in splits for splits in sent.visible_splits
    )
    for name in ("fomc", "fpb", "fiqa", "headline", "finred", "argument", "deal", "causal"):
        splits = read_rows(name).splits  # test rows are no longer blocked
        assert len(splits["test"]) and not [text for text in splits["test"]["text"] if sent.contains(text)]
    for name in ("fomc", "fpb", "fiqa"):  # the search in the texts works
        assert sum(map(sent.contains, read_rows(name).splits["validation"]["text"])) == 3


def test_no_test_row_of_a_custom_task_is_sent(world: SearchWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        sent = SentTexts(patch)
        assert world.search("audited", candidates=2).exit_code == 0
    rows = json.loads((world.folder / "rows.json").read_text(encoding="utf-8"))
    for task in ("first", "second"):
        assert not any(sent.contains(row["text"]) for split in ("test", "train") for row in rows[task][split])
        assert all(sent.contains(row["text"]) for row in rows[task]["validation"])


def test_built_test_rows_cannot_be_read_during_a_search(
    tmp_path: Path, bundled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    score = FinHF.loglikelihood

    def reads_the_test_split(lm: FinHF, requests: Any, **settings: Any) -> Any:
        read_split(tmp_path / "built" / "test.parquet", "fomc", "its hash")
        return score(lm, requests, **settings)

    monkeypatch.setattr(FinHF, "loglikelihood", reads_the_test_split)
    result = search(tmp_path, bundled)
    assert result.exit_code == 1 and "test rows" in str(result.exception)
    assert not split_guard.is_blocked()


@pytest.mark.parametrize("task", ["fin_argument", "fin_deal", "fin_causal", "fin_causal_full"])
def test_unseen_tasks_are_refused(tmp_path: Path, bundled: dict[str, Any], task: str) -> None:
    bundled["experts"]["fomc"]["tasks"] = [task]
    result = search(tmp_path, bundled)
    assert result.exit_code == 1 and f"{task}: marked as unseen" in str(result.exception)
    assert not (tmp_path / "study").exists()


def test_a_group_of_unseen_tasks_is_refused(tmp_path: Path, bundled: dict[str, Any]) -> None:
    bundled["experts"]["fomc"]["tasks"] = ["fin_unseen"]
    assert isinstance(search(tmp_path, bundled).exception, FinError)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("change", ["test_split: validation", "test_split: null"])
def test_a_task_that_is_tested_on_its_validation_rows_is_refused(world: SearchWorld, change: str) -> None:
    text = (world.folder / "first.yaml").read_text(encoding="utf-8")
    task = world.folder / "custom.yaml"
    task.write_text(text.replace("test_split: test", change), encoding="utf-8")
    experts = world.settings["experts"]
    experts["one"]["tasks"] = [str(task)]
    result = world.search("tested", experts=experts)
    assert "is tested on its validation rows" in str(result.exception)
