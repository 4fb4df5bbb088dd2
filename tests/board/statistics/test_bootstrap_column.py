"""Documents are paired by hash, independently of order and of other models."""

import numpy as np

from fin_plugins.board.board_data import Documents, Entry
from fin_plugins.board.statistics.bootstrap_column import bootstrap_column
from tests.board.statistics.column_factories import column, draw, shuffled, with_entries, without_documents

SKILLS = {"a": 0.4, "b": 0.6, "c": 0.5}


def test_order_of_documents_does_not_matter() -> None:
    original = column(SKILLS)
    reordered = with_entries(
        original, original.entries[0], shuffled(original.entries[1]), shuffled(original.entries[2], 6)
    )
    first, second = draw(original), draw(reordered)
    assert np.array_equal(first.answers, second.answers)
    assert np.array_equal(first.joint.replicates, second.joint.replicates)


def test_another_model_changes_nothing() -> None:
    original = column(SKILLS)
    alone = draw(with_entries(original, original.entries[1])).figures("b")
    together = draw(original).figures("b")
    assert alone is not None and together is not None
    assert np.array_equal(alone.draws, together.draws)


def test_columns_with_equal_documents_share_replicates() -> None:
    choice = draw(column(SKILLS))
    again = draw(column(SKILLS, protocol="gen"))
    elsewhere = column(SKILLS)
    renamed = draw(with_entries(elsewhere, *(_renamed(entry) for entry in elsewhere.entries)))
    assert np.array_equal(choice.joint.replicates, again.joint.replicates)
    assert np.array_equal(choice.answers, renamed.answers)
    assert abs(np.corrcoef(choice.joint.replicates[0, 0], renamed.joint.replicates[0, 0])[0, 1]) < 0.25
    assert not np.array_equal(draw(column(SKILLS), seed=2).joint.replicates, choice.joint.replicates)


def test_other_documents_or_gold_labels_are_not_paired() -> None:
    original = column(SKILLS)
    a, b, c = original.entries
    assert c.documents is not None
    relabelled = Entry(
        **{**vars(c), "documents": Documents(c.documents.hashes, 2 - c.documents.gold, c.documents.answers)}
    )
    for odd in (_renamed(c), relabelled):
        part, problems = bootstrap_column(with_entries(original, odd, a, b), 50, 1)
        assert part.models == ("a", "b")
        assert [(problem.file, problem.is_error) for problem in problems] == [("c.json", False)]
        assert "documents or gold labels" in problems[0].message
        figures = part.figures("c")
        assert figures is not None and figures.draws is None


def test_without_documents_reported_figures_are_used() -> None:
    original = column(SKILLS)
    part = draw(with_entries(original, *(without_documents(entry) for entry in original.entries)))
    figures = part.figures("a")
    assert part.models == () and figures is not None
    assert figures.has("weighted_f1") and not figures.has("mcc")
    assert figures.estimates().keys() == {"acc", "weighted_f1"}
    assert part.figures("nobody") is None


def _renamed(entry: Entry) -> Entry:
    assert entry.documents is not None
    hashes = tuple(f"other {name}" for name in entry.documents.hashes)
    return Entry(**{**vars(entry), "documents": Documents(hashes, entry.documents.gold, entry.documents.answers)})
