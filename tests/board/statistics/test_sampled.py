"""Documents are paired by hash, models do not disturb each other, and what cannot be paired is not."""

import numpy as np

from fin_plugins.board.model import Documents, Entry
from fin_plugins.board.statistics.sampled import sampled
from tests.board.statistics.worlds import column, draw, shuffled, with_entries, without_documents

SKILLS = {"a": 0.4, "b": 0.6, "c": 0.5}


def test_the_order_of_a_run_does_not_matter() -> None:
    whole = column(SKILLS)
    mixed = with_entries(whole, whole.entries[0], shuffled(whole.entries[1]), shuffled(whole.entries[2], 6))
    one, other = draw(whole), draw(mixed)
    assert np.array_equal(one.answers, other.answers)
    assert np.array_equal(one.joint.replicates, other.joint.replicates)


def test_another_model_changes_nothing() -> None:
    whole = column(SKILLS)
    alone = draw(with_entries(whole, whole.entries[1])).figures("b")
    together = draw(whole).figures("b")
    assert alone is not None and together is not None
    assert np.array_equal(alone.draws, together.draws)


def test_columns_of_the_same_documents_share_their_draws_and_no_others_do() -> None:
    choice = draw(column(SKILLS))
    again = draw(column(SKILLS, protocol="gen"))
    elsewhere = column(SKILLS)
    renamed = draw(with_entries(elsewhere, *(_renamed(one) for one in elsewhere.entries)))
    assert np.array_equal(choice.joint.replicates, again.joint.replicates)
    assert np.array_equal(choice.answers, renamed.answers)
    assert abs(np.corrcoef(choice.joint.replicates[0, 0], renamed.joint.replicates[0, 0])[0, 1]) < 0.25
    assert not np.array_equal(draw(column(SKILLS), seed=2).joint.replicates, choice.joint.replicates)


def test_other_documents_or_gold_labels_are_not_paired() -> None:
    whole = column(SKILLS)
    a, b, c = whole.entries
    assert c.documents is not None
    relabelled = Entry(
        **{**vars(c), "documents": Documents(c.documents.hashes, 2 - c.documents.gold, c.documents.answers)}
    )
    for odd in (_renamed(c), relabelled):
        found, problems = sampled(with_entries(whole, odd, a, b), 50, 1)
        assert found.models == ("a", "b")
        assert [(one.file, one.is_error) for one in problems] == [("c.json", False)]
        assert "not those of the column's other runs" in problems[0].message
        figures = found.figures("c")
        assert figures is not None and figures.draws is None


def test_without_documents_the_harness_is_believed() -> None:
    whole = column(SKILLS)
    found = draw(with_entries(whole, *(without_documents(one) for one in whole.entries)))
    figures = found.figures("a")
    assert found.models == () and figures is not None
    assert figures.knows("weighted_f1") and not figures.knows("mcc")
    assert figures.estimates().keys() == {"acc", "weighted_f1"}
    assert found.figures("nobody") is None


def _renamed(one: Entry) -> Entry:
    assert one.documents is not None
    hashes = tuple(f"other {name}" for name in one.documents.hashes)
    return Entry(**{**vars(one), "documents": Documents(hashes, one.documents.gold, one.documents.answers)})
