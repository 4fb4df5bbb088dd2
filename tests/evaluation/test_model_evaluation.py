"""The comparison table of several models."""

from fin_plugins.evaluation.model_evaluation import comparison_table

BASE = {
    "results": {
        "fin_fomc": {"alias": "fin_fomc", "acc,none": 0.5, "weighted_f1,none": 0.333, "weighted_f1_stderr,none": 0.021},
        "wikitext": {"alias": "wikitext", "word_perplexity,none": 12.3456, "word_perplexity_stderr,none": "N/A"},
        "fin_demo": {"alias": "fin_demo", "sample_rows,none": 1.0, "acc,none": 1},
    },
    "groups": {"fin_seen": {"alias": "fin_seen", "weighted_f1,none": 0.25, "weighted_f1_stderr,none": 0.01}},
}
ADAPTER = {"results": {"fin_fomc": {"weighted_f1,none": 0.681, "weighted_f1_stderr,none": 0.02}}}


def test_models_side_by_side_with_standard_errors() -> None:
    lines = comparison_table({"base": BASE, "fomc": ADAPTER}).splitlines()
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert cells["task"] == ["metric", "base", "fomc"]
    assert cells["fin_fomc"] == ["weighted_f1", "33.3 ± 2.1", "68.1 ± 2.0"]
    assert cells["wikitext"] == ["word_perplexity", "12.35", "–"]
    assert cells["fin_demo"] == ["acc", "100.0", "–"]
    assert cells["fin_seen"] == ["weighted_f1", "25.0 ± 1.0", "–"]
    assert len({len(line) for line in lines}) == 1
