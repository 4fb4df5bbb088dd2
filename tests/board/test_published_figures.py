"""The bundled figures of the paper, and files with mistakes."""

from collections import Counter
from pathlib import Path

import pytest

from fin_plugins.board.published_figures import bundled_published, read_published
from fin_plugins.common.locations import leaderboard_folder
from fin_plugins.common.yaml_file import Problems
from fin_plugins.training.config_checks import our_tasks

UNSEEN = {"fin_argument", "fin_deal", "fin_causal"}
TASKS = {"fin_fpb", "fin_fiqa", "fin_headline", "fin_finred_paper", "fin_fomc"} | UNSEEN
SMALL = """\
paper: A paper
datasets:
  A: {task: fin_fomc}
  B C: {task: fin_fpb}
tables:
  - place: Table 1
    columns: [A acc, B C weighted_f1, B C mcc]
    rows:
      - {setting: tuned, model: M, figures: [86.2, ~, -3], note: a slip}
"""


@pytest.fixture(scope="module")
def paper() -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    rows = read_published(leaderboard_folder() / "paper_2411.02476.yaml")
    rows_by_model = {(row.setting, row.model): row.figures for row in rows}
    assert len(rows_by_model) == len(rows)
    return rows_by_model


def test_counts(paper: dict[tuple[str, str], dict[str, dict[str, float]]]) -> None:
    settings = Counter(setting for setting, _ in paper)
    assert settings == {
        **{"1-shot": 3, "5-shot": 3, "10-shot": 3, "Baseline": 4, "Vanilla": 3, "ST-Base-FT": 2, "MT-Base-FT": 2},
        **{"ST-Instruct-FT": 3, "MT-Instruct-FT": 3, "Merged": 2},
    }
    a_task = Counter((task, metric) for row in paper.values() for task in row for metric in row[task])
    assert a_task == {
        **{("fin_fpb", "acc"): 26, ("fin_fpb", "weighted_f1"): 28},
        **{("fin_fiqa", "acc"): 26, ("fin_fiqa", "weighted_f1"): 28},
        **{("fin_headline", "weighted_f1"): 25, ("fin_finred_paper", "weighted_f1"): 16},
        **{("fin_fomc", "weighted_f1"): 26, ("fin_argument", "weighted_f1"): 11},
        **{("fin_deal", "weighted_f1"): 11, ("fin_causal", "weighted_f1"): 10},
    }
    assert our_tasks().keys() >= TASKS


def test_every_figure_is_one_as_printed(paper: dict[tuple[str, str], dict[str, dict[str, float]]]) -> None:
    figures = [figure for row in paper.values() for task in row.values() for figure in task.values()]
    assert len(figures) == 207 and all(0 < figure < 1 for figure in figures)
    assert all(figure == round(figure, 3) for figure in figures)  # one digit behind the point of a percentage
    assert sum(figures) == pytest.approx(143.671)


def test_selected_rows(paper: dict[tuple[str, str], dict[str, dict[str, float]]]) -> None:
    assert paper["Merged", "Llama3-8B"]["fin_argument"] == {"weighted_f1": 0.546}
    assert paper["5-shot", "Phi-3-mini"]["fin_fiqa"] == {"acc": 0.536, "weighted_f1": 0.47}
    assert paper["10-shot", "Mistral-7B"]["fin_fpb"] == {"acc": 0.685, "weighted_f1": 0.699}
    assert paper["Baseline", "BloombergGPT"] == {"fin_fpb": {"weighted_f1": 0.512}, "fin_fiqa": {"weighted_f1": 0.752}}
    assert paper["MT-Instruct-FT", "Llama3-8B"]["fin_headline"] == {"weighted_f1": 0.959}
    assert {task: row["weighted_f1"] for task, row in paper["Merged", "Mistral-7B"].items()} == {
        **{"fin_fpb": 0.803, "fin_fiqa": 0.721, "fin_headline": 0.916, "fin_finred_paper": 0.412, "fin_fomc": 0.389},
        **{"fin_argument": 0.504, "fin_deal": 0.835, "fin_causal": 0.596},
    }


def test_claims_of_the_paper(paper: dict[tuple[str, str], dict[str, dict[str, float]]]) -> None:
    single = [row for (setting, _), row in paper.items() if setting.startswith("ST-")]
    assert len(single) == 5 and not any(UNSEEN & set(row) for row in single)
    for model in ("Llama3-8B", "Mistral-7B"):
        merged, vanilla = paper["Merged", model], paper["Vanilla", model]
        better = {task for task in UNSEEN if merged[task]["weighted_f1"] > vanilla[task]["weighted_f1"]}
        assert better == {"fin_argument"}
    base = {model: paper["MT-Base-FT", model]["fin_argument"]["weighted_f1"] for model in ("Llama3-8B", "Mistral-7B")}
    assert base == {"Llama3-8B": 0.234, "Mistral-7B": 0.134}


def test_places() -> None:
    places = {(row.setting, row.model): row.place for row in bundled_published()}
    assert places["1-shot", "Llama3-8B"] == "arXiv 2411.02476 v1, Table 2"
    assert places["Merged", "Llama3-8B"] == "arXiv 2411.02476 v1, Tables 3 and 26"
    assert places["MT-Instruct-FT", "Llama3-8B"].endswith("(Headline: 95.9 in Table 3, 95 in Table 26)")


def test_another_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SMALL)
    (row,) = read_published(tmp_path / "a.yaml")
    assert row.figures == {"fin_fomc": {"acc": 0.862}, "fin_fpb": {"mcc": -0.03}}
    assert (row.model, row.setting, row.place) == ("M", "tuned", "A paper, Table 1 (a slip)")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("place:", "plaec:", "6:5 tables.0.plaec: no such key (did you mean place?)"),
        ("86.2, ~", "862, ~", "9:46 tables.0.rows.0.figures.0: should be less than or equal to 100"),
        ("86.2, ~", "yes, ~", "9:46 tables.0.rows.0.figures.0: should be a number in percent"),
        ("86.2, ~", "-1, ~", "9:36 tables.0.rows.0.figures: A acc is -1.0: only mcc can be below 0"),
        ("86.2, ~", "~", "2 figures for 3 columns"),
        ("[A acc", "[AB acc", "7:15 tables.0.columns.0: no data set AB above"),
        ("[A acc", "[A ac", "no such metric ac (did you mean acc?)"),
        ("[A acc, ", "[A acc, A acc, ", "A acc is given twice"),
        ("fin_fpb", "fin_fomc", "4:9 datasets.B C.task: fin_fomc stands for two data sets"),
        ("setting: tuned, ", "", "rows.0.setting: is missing"),
        (
            "-3], note: a slip}",
            "-3]}\n      - {setting: tuned, model: M, figures: [1, 2, 3]}",
            "tuned M is given twice",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(right: str, wrong: str, message: str, tmp_path: Path) -> None:
    assert right in SMALL
    file = tmp_path / "a.yaml"
    file.write_text(SMALL.replace(right, wrong, 1))
    with pytest.raises(Problems) as error:
        read_published(file)
    assert f"{file}:" in str(error.value) and message in str(error.value)
