"""The data of a run: what is left out is counted, what must not be trained on is refused, the mixture is sampled."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoTokenizer

from fin_plugins.common.errors import FinError
from fin_plugins.data.text_hashes import HeldOutTexts, hash_held_out_texts, held_out_hash
from fin_plugins.training import training_data
from fin_plugins.training.train_config import TaskShare, TrainConfig
from fin_plugins.training.training_data import load_training_data, rows_per_epoch, sample_mixture, subsample
from fin_plugins.training.training_examples import IGNORED, check_padding

pytestmark = pytest.mark.usefixtures("sample_data")


@pytest.fixture
def path(tiny_models):
    return str(tiny_models["llama3"])


def config(**settings):
    return TrainConfig.model_validate({"model": "tiny", "tasks": ["fin_fomc"], "max_length": 4000, **settings})


def test_rows_in_tokens_with_their_record(path):
    prepared = load_training_data(config(tasks=["fin_fomc", {"task": "fin_fpb", "cap": 5}]), path)
    assert len(prepared.examples) == 24 + 5
    fomc, fpb = prepared.tasks
    assert (fomc.available, fomc.used, fomc.per_epoch, fomc.validation) == (24, 24, 24, 12)
    assert (fpb.available, fpb.used, fpb.per_epoch) == (24, 5, 5)
    assert fomc.origin == "sample"
    assert set(fomc.rows_hash) == {"train", "validation"}
    assert fomc.licence == "CC BY-NC 4.0"
    assert set(prepared.validation) == {"fin_fomc", "fin_fpb"}
    assert all(example.labels[0] == IGNORED and example.labels[-1] != IGNORED for example in prepared.examples)


def test_the_same_seed_samples_the_same_rows(path):
    settings = {"tasks": [{"task": "fin_fomc", "cap": 7}]}
    hashes = [load_training_data(config(**settings, seed=seed), path).hash for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_leaking_rows_are_dropped_and_counted(path, monkeypatch):
    from fin_plugins.data.dataset_rows import read_rows

    rows = read_rows("fomc").splits["train"]["text"]
    known = hash_held_out_texts()
    leaking = frozenset(held_out_hash(text) for text in rows[:3])
    # Three of the train rows are in the test set of another data set, which counts as well.
    monkeypatch.setattr(
        training_data, "hash_held_out_texts", lambda: HeldOutTexts({**known.hashes, "deal": leaking}, ())
    )
    dropped = load_training_data(config(), path)
    assert dropped.unchecked == []
    assert (dropped.tasks[0].leaks_dropped, len(dropped.examples)) == (3, 21)
    unfiltered = load_training_data(config(keep_leaks=True), path)
    assert (unfiltered.tasks[0].leaks_dropped, len(unfiltered.examples)) == (0, 24)


def test_unseen_tasks_are_refused_unless_allowed(path):
    with pytest.raises(FinError, match=r"fin_argument: .*allow_unseen: true"):
        load_training_data(config(tasks=["fin_fomc", "fin_argument"]), path)
    allowed = load_training_data(config(tasks=["fin_argument"], allow_unseen=True), path)
    assert allowed.tasks[0].seen is False


def test_long_examples_are_left_out_and_counted(path):
    lengths = sorted(len(example.ids) for example in load_training_data(config(), path).examples)
    limit = lengths[10]
    prepared = load_training_data(config(max_length=limit), path)
    fitting = [length for length in lengths if length <= limit]
    assert sorted(len(example.ids) for example in prepared.examples) == fitting
    assert prepared.tasks[0].too_long == 24 - len(fitting)
    with pytest.raises(FinError, match=r"max_length \(now 20\)"):
        load_training_data(config(max_length=20), path)


def test_the_models_positions_are_named_if_they_are_the_limit(path, tmp_path, caplog):
    lengths = sorted(len(example.ids) for example in load_training_data(config(), path).examples)
    for positions, left in ((64, 0), (lengths[10], None)):
        short = changed_model(path, tmp_path / str(positions), max_position_embeddings=positions)
        if left == 0:
            with pytest.raises(FinError, match="64 positions") as error:
                load_training_data(config(), short)
            assert "raise" not in str(error.value)
        else:
            caplog.clear()
            load_training_data(config(), short)
            assert f"{positions} positions" in caplog.text and "raise" not in caplog.text


def test_a_token_without_an_embedding_is_named(path, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(["hawkish"])
    short = changed_model(path, tmp_path / "base")
    tokenizer.save_pretrained(short)
    with pytest.raises(FinError, match=r"hawkish.*resize_token_embeddings") as error:
        load_training_data(config(), short)
    assert str(len(tokenizer)) in str(error.value) and str(len(tokenizer) - 1) in str(error.value)


def test_a_token_that_no_example_has_needs_no_embedding(path, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(["never written"])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    short = changed_model(path, tmp_path / "base")
    tokenizer.save_pretrained(short)
    prepared = load_training_data(config(), short)
    assert len(prepared.examples) == 24
    check_padding(prepared.lm, "shared_prefix", "tiny")
    with pytest.raises(FinError, match=r"\[PAD\].*padded.*pad_token"):
        check_padding(prepared.lm, "padded", "tiny")


def changed_model(path, folder, **settings):
    """The tiny model's tokenizer and configuration, which is all that training_data reads."""
    loaded = AutoConfig.from_pretrained(path)
    for name, value in settings.items():
        setattr(loaded, name, value)
    loaded.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path).save_pretrained(folder)
    return str(folder)


def test_validation_can_be_smaller_or_off(path):
    few = load_training_data(config(validation={"rows": 5}), path)
    assert (few.tasks[0].validation, len(few.validation["fin_fomc"].gold)) == (5, 5)
    assert load_training_data(config(validation="off"), path).validation == {}


def test_the_chat_template_is_used_if_there_is_one(tiny_models, path):
    assert load_training_data(config(), path).chat is True
    assert load_training_data(config(chat_template=False), path).chat is False
    base = str(tiny_models["base"])
    assert load_training_data(config(), base).chat is False
    with pytest.raises(FinError, match=r"chat_template: true.*tiny"):
        load_training_data(config(chat_template=True), base)


def test_a_model_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(FinError, match=r"model: tiny: .*tokenizer"):
        load_training_data(config(), str(tmp_path))


@pytest.mark.prove  # more than a minute
def test_real_rows_of_the_papers_split_lose_their_leaks(mirror, monkeypatch, tmp_path, path):
    """39 % of the paper's finred test rows have their sentence in its train split."""
    from click.testing import CliRunner

    from fin_plugins.cli.data import command

    monkeypatch.setenv("FIN_DATA", "real")
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    fetched = CliRunner().invoke(command, ["fetch", "fin_finred_paper", "fin_finred", "--mirror", str(mirror)])
    assert fetched.exit_code == 0
    paper = load_training_data(config(tasks=["fin_finred_paper"], validation="off"), path)
    official = load_training_data(config(tasks=["fin_finred"], validation="off"), path)
    assert paper.tasks[0].leaks_dropped > 1000
    assert paper.tasks[0].available == 5655
    assert official.tasks[0].leaks_dropped == 0
    assert "fin_fomc" in official.unchecked  # only the two data sets were fetched


def share(**settings):
    return TaskShare(task="a", **settings)


@given(st.integers(1, 40), st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_no_item_repeats_before_all_have_been_used(size, count, seed):
    sample = subsample(list(range(size)), count, seed, "a")
    times = Counter(sample)
    assert len(sample) == count
    assert set(times) <= set(range(size))
    assert all(count // size <= times[item] <= -(-count // size) for item in range(size))
    assert subsample(list(range(size)), count, seed, "a") == sample


def test_names_and_seeds_give_different_samples():
    items = list(range(100))
    samples = {tuple(subsample(items, 50, seed, name)) for seed in (1, 2) for name in ("a", "b")}
    assert len(samples) == 4


def test_a_sample_of_nothing_is_empty():
    assert subsample([], 0, 1, "a") == []


def test_cap_comes_before_repeat():
    assert rows_per_epoch({"a": 100, "b": 10}, {"a": share(cap=30, repeat=2), "b": share(repeat=3)}) == {
        "a": 60,
        "b": 30,
    }
    sample = sample_mixture(list(range(100)), share(cap=30, repeat=2), 60, 5, "a")
    assert sorted(Counter(sample).values()) == [2] * 30


def test_a_task_without_rows_has_none():
    assert rows_per_epoch({"a": 0, "b": 5}, {"a": share(), "b": share()}) == {"b": 5}


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0.01, 100)), min_size=1, max_size=6),
)
def test_weights_are_proportions_and_no_task_needs_more_than_it_has(tasks):
    available = {str(index): rows for index, (rows, _) in enumerate(tasks)}
    shares = {str(index): share(weight=weight) for index, (_, weight) in enumerate(tasks)}
    counts = rows_per_epoch(available, shares)
    assert all(1 <= counts[name] <= available[name] for name in available)
    assert any(counts[name] == available[name] for name in available)  # as large as it can be
    scale = min(rows / weight for rows, weight in tasks)
    for name, (_, weight) in zip(available, tasks, strict=True):
        assert counts[name] == pytest.approx(max(1, weight * scale), abs=0.51)
