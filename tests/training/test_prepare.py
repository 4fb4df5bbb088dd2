"""The data of a run: what is left out is counted, what may not be trained on is refused."""

import pytest
from transformers import AutoConfig, AutoTokenizer

from fin_plugins.common.errors import FinError
from fin_plugins.data.held_out import HeldOut, _hash, held_out
from fin_plugins.training import prepare as preparing
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.embedding_rows import check_padding
from fin_plugins.training.examples import IGNORED
from fin_plugins.training.prepare import prepare

pytestmark = pytest.mark.usefixtures("sample_data")


@pytest.fixture
def path(tiny_models):
    return str(tiny_models["llama3"])


def config(**settings):
    return TrainConfig.model_validate({"model": "tiny", "tasks": ["fin_fomc"], "max_length": 4000, **settings})


def test_rows_in_tokens_with_their_record(path):
    prepared = prepare(config(tasks=["fin_fomc", {"task": "fin_fpb", "cap": 5}]), path)
    assert len(prepared.tokens) == 24 + 5
    fomc, fpb = prepared.tasks
    assert (fomc.available, fomc.used, fomc.per_epoch, fomc.validation) == (24, 24, 24, 12)
    assert (fpb.available, fpb.used, fpb.per_epoch) == (24, 5, 5)
    assert fomc.origin == "sample"
    assert set(fomc.rows_hash) == {"train", "validation"}
    assert fomc.licence == "CC BY-NC 4.0"
    assert set(prepared.validation) == {"fin_fomc", "fin_fpb"}
    assert all(one.labels[0] == IGNORED and one.labels[-1] != IGNORED for one in prepared.tokens)


def test_the_same_seed_draws_the_same(path):
    settings = {"tasks": [{"task": "fin_fomc", "cap": 7}]}
    hashes = [prepare(config(**settings, seed=seed), path).hash for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_leaking_rows_are_dropped_and_counted(path, monkeypatch):
    from fin_plugins.data.rows import read_rows

    rows = read_rows("fomc").splits["train"]["text"]
    known = held_out()
    leaking = frozenset(_hash(text) for text in rows[:3])
    # Another data set's test set holds three of the train rows: that counts as well.
    monkeypatch.setattr(preparing, "held_out", lambda: HeldOut({**known.hashes, "deal": leaking}, ()))
    dropped = prepare(config(), path)
    assert dropped.unchecked == []
    assert (dropped.tasks[0].leaks_dropped, len(dropped.tokens)) == (3, 21)
    kept = prepare(config(keep_leaks=True), path)
    assert (kept.tasks[0].leaks_dropped, len(kept.tokens)) == (0, 24)


def test_unseen_tasks_are_refused_unless_allowed(path):
    with pytest.raises(FinError, match=r"fin_argument: marked as unseen.*allow_unseen: true"):
        prepare(config(tasks=["fin_fomc", "fin_argument"]), path)
    allowed = prepare(config(tasks=["fin_argument"], allow_unseen=True), path)
    assert allowed.tasks[0].seen is False


def test_what_is_too_long_is_left_out_whole_and_counted(path):
    lengths = sorted(len(one.ids) for one in prepare(config(), path).tokens)
    limit = lengths[10]
    prepared = prepare(config(max_length=limit), path)
    fitting = [length for length in lengths if length <= limit]
    assert sorted(len(one.ids) for one in prepared.tokens) == fitting
    assert prepared.tasks[0].too_long == 24 - len(fitting)
    with pytest.raises(FinError, match=r"no example is short enough: raise max_length \(now 20\)"):
        prepare(config(max_length=20), path)


def test_the_models_own_limit_is_named_where_it_is_the_limit(path, tmp_path, caplog):
    lengths = sorted(len(one.ids) for one in prepare(config(), path).tokens)
    for positions, left in ((64, 0), (lengths[10], None)):
        short = changed_model(path, tmp_path / str(positions), max_position_embeddings=positions)
        if left == 0:
            with pytest.raises(FinError, match="64 positions") as error:
                prepare(config(), short)
            assert "raise" not in str(error.value)
        else:
            caplog.clear()
            prepare(config(), short)
            assert f"{positions} positions" in caplog.text and "raise" not in caplog.text


def test_a_token_without_an_embedding_is_named(path, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(["hawkish"])
    short = changed_model(path, tmp_path / "base")
    tokenizer.save_pretrained(short)
    with pytest.raises(FinError, match=r"hawkish.*resize_token_embeddings") as error:
        prepare(config(), short)
    assert str(len(tokenizer)) in str(error.value) and str(len(tokenizer) - 1) in str(error.value)


def test_a_token_that_no_example_has_needs_no_embedding(path, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(["never written"])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    short = changed_model(path, tmp_path / "base")
    tokenizer.save_pretrained(short)
    prepared = prepare(config(), short)
    assert len(prepared.tokens) == 24
    check_padding(prepared.lm, "shared_prefix", "tiny")
    with pytest.raises(FinError, match=r"\[PAD\].*padded.*pad_token"):
        check_padding(prepared.lm, "padded", "tiny")


def changed_model(path, folder, **settings):
    """The tiny model's tokenizer and configuration, which is all that preparing reads."""
    loaded = AutoConfig.from_pretrained(path)
    for name, value in settings.items():
        setattr(loaded, name, value)
    loaded.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path).save_pretrained(folder)
    return str(folder)


def test_validation_can_be_smaller_or_off(path):
    few = prepare(config(validation={"rows": 5}), path)
    assert (few.tasks[0].validation, len(few.validation["fin_fomc"].gold)) == (5, 5)
    assert prepare(config(validation="off"), path).validation == {}


def test_templates_are_taken_where_there_are_some(tiny_models, path):
    assert prepare(config(), path).chat is True
    assert prepare(config(chat_template=False), path).chat is False
    base = str(tiny_models["base"])
    assert prepare(config(), base).chat is False
    with pytest.raises(FinError, match="the tokenizer of tiny has none"):
        prepare(config(chat_template=True), base)


def test_no_model_is_one_line(tmp_path):
    with pytest.raises(FinError, match=r"model: tiny: its tokenizer cannot be loaded"):
        prepare(config(), str(tmp_path))


@pytest.mark.prove  # more than a minute
def test_real_rows_of_the_papers_split_lose_their_leaks(mirror, monkeypatch, tmp_path, path):
    """39 % of the paper's finred test rows have their sentence in its train split: by default none is trained on."""
    from click.testing import CliRunner

    from fin_plugins.cli.data import command

    monkeypatch.setenv("FIN_DATA", "real")
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    fetched = CliRunner().invoke(command, ["fetch", "fin_finred_paper", "fin_finred", "--mirror", str(mirror)])
    assert fetched.exit_code == 0
    paper = prepare(config(tasks=["fin_finred_paper"], validation="off"), path)
    official = prepare(config(tasks=["fin_finred"], validation="off"), path)
    assert paper.tasks[0].leaks_dropped > 1000
    assert paper.tasks[0].available == 5655
    assert official.tasks[0].leaks_dropped == 0
    assert "fin_fomc" in official.unchecked  # only the two data sets were fetched
