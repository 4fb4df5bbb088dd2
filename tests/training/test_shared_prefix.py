"""Rows in one sequence have the losses of a padded batch, and do not see each other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import set_seed

from fin_plugins.scoring.tree_attention import as_mask, mask_dtype
from fin_plugins.training.shared_prefix import collate_shared_prefix
from fin_plugins.training.trainer import label_losses, split_trees
from fin_plugins.training.training_examples import IGNORED
from tests.scoring.factories import SIZES

VOCABULARY = 60
MODELS = ["LlamaForCausalLM", "Qwen2ForCausalLM", "GPTNeoXForCausalLM", "Gemma2ForCausalLM"]


def row(prompt: list[int], label: list[int]) -> dict[str, list[int]]:
    return {"input_ids": prompt + label, "labels": [IGNORED] * len(prompt) + label}


ROWS = [
    row([1, 2, 3, 4, 5, 6], [10, 11]),
    row([1, 2, 3, 4, 9], [12]),
    row([1, 2, 3, 4, 5, 6], [10, 11]),  # the same row twice
    row([1, 2, 3, 4, 5, 6], [10, 13, 14]),  # the same prompt, another label
    row([1, 2], [3, 4, 5]),  # its label is others' prompt
    row([7, 8, 9, 9, 9, 9, 9], [10]),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(name: str, attention: str | None = None):
    import transformers

    set_seed(3)
    model_class = getattr(transformers, name)
    sizes = {
        **SIZES,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
        "num_key_value_heads": 2,
    }
    if name == "Gemma2ForCausalLM":
        sizes |= {"head_dim": 8, "sliding_window": 32}
    model = model_class._from_config(model_class.config_class(**sizes), attn_implementation=attention).eval()
    assert model.config._attn_implementation in (("sdpa", "eager") if attention is None else (attention,))
    return model


def padded_loss(model, rows) -> torch.Tensor:
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows])
    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows])
    labels = torch.tensor([row["labels"] + [IGNORED] * (longest - len(row["labels"])) for row in rows])
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def shared_loss(model, rows, hidden=None) -> torch.Tensor:
    """As the trainer computes it."""
    mask = mask_dtype(model.config, model.dtype)
    return sum(label_losses(model, part).sum() for part in split_trees(collate_shared_prefix(rows, hidden), mask))


@pytest.mark.parametrize(
    ("name", "attention"), [*((name, None) for name in MODELS), ("LlamaForCausalLM", "eager"), (MODELS[-1], "eager")]
)
def test_losses_and_gradients_are_those_of_a_padded_batch(name, attention):
    """`eager` attention adds the mask, so a boolean one would have no effect. Gemma 2 is eager in transformers 5.24."""
    model = tiny(name, attention)
    found = []
    for loss_of in (padded_loss, shared_loss):
        model.zero_grad()
        loss = loss_of(model, ROWS)
        loss.backward()
        found.append((loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (padded, their_gradients), (shared, our_gradients) = found
    assert shared.item() == pytest.approx(padded.item(), rel=1e-5)
    for ours, theirs in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * max(1.0, float(theirs.abs().max())))


def test_prompts_are_computed_once():
    batch = collate_shared_prefix(ROWS)
    assert batch["given"].tolist() == [6, sum(len(row["input_ids"]) for row in ROWS)]
    # 1 2 3 4 5 once, then 6 10 11 | 6 10 11 | 6 10 13 14 | 9 12; the fifth row shares the 1, the sixth nothing.
    assert batch["input_ids"].shape == (1, 5 + 3 + 3 + 4 + 2 + 4 + 8)


@pytest.mark.parametrize(("hidden", "trees"), [(1, 4), (2, 3), (10**6, 2)])
def test_trees_apart_give_the_same_loss(hidden, trees):
    """From one tree per row to a single tree: the computation differs, not the result."""
    model = tiny("LlamaForCausalLM")
    batch = collate_shared_prefix(ROWS, hidden)
    assert len(batch["trees"]) == trees
    total = shared_loss(model, ROWS, hidden)
    assert total.item() == pytest.approx(padded_loss(model, ROWS).item(), rel=1e-5)


def test_eager_attention_takes_what_sdpa_takes_as_an_added_mask():
    allowed = torch.tensor([[True, False], [True, True]])
    found = {}
    for attention in ("sdpa", "eager"):
        model = tiny("LlamaForCausalLM", attention)
        found[attention] = as_mask(allowed, mask_dtype(model.config, model.dtype))
    assert found["sdpa"].dtype == torch.bool
    assert found["eager"].dtype == torch.float32
    assert found["eager"].softmax(dim=-1).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_an_example_cannot_see_another():
    """Whatever one row contains, the log-probabilities of the others do not change."""
    model = tiny("LlamaForCausalLM")
    others = ROWS[:4]
    alone = shared_loss(model, others)
    for changed in (row([1, 2, 3, 4, 5, 20], [21, 22]), row([1, 2, 3, 30], [31])):
        together, own = shared_loss(model, [*others, changed]), padded_loss(model, [changed])
        assert (together - own).item() == pytest.approx(alone.item(), rel=1e-5)


rows_of = st.builds(
    row, st.lists(st.integers(1, 3), min_size=1, max_size=6), st.lists(st.integers(1, 3), min_size=1, max_size=3)
)


@given(st.lists(rows_of, min_size=1, max_size=6))
def test_every_row_can_be_read_back(rows):
    batch = collate_shared_prefix(rows)
    ids, labels, depths = (batch[name][0].tolist() for name in ("input_ids", "labels", "position_ids"))
    mask = batch["attention_mask"][0, 0]
    found = []
    for place, label in enumerate(labels):
        last = place + 1 == len(labels) or labels[place + 1] == IGNORED or depths[place + 1] != depths[place] + 1
        if label != IGNORED and last:
            path = mask[place].nonzero().flatten().tolist()
            assert [depths[ancestor] for ancestor in path] == list(range(len(path)))
            found.append(([ids[at] for at in path], [labels[at] for at in path if labels[at] != IGNORED]))
    # Each row ends in exactly one leaf.
    expected = [(row["input_ids"], [label for label in row["labels"] if label != IGNORED]) for row in rows]
    assert sorted(found) == sorted(expected)
    assert mask.triu(1).any().item() is False
