import re
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_layers import EMBEDDING, LINEAR, BaseLayers
from fin_plugins.merging.adapters.factors import Product, read_factors
from fin_plugins.merging.adapters.measure import rank_for
from fin_plugins.merging.adapters.write import target_names, write_adapter

ALL = [f"model.layers.{layer}.{part}" for layer in range(12) for part in ("attn.q_proj", "attn.v_proj", "mlp.up_proj")]
ALL += ["lm_head", "model.embed_tokens"]
LAYERS = BaseLayers({name: EMBEDDING if "embed" in name else LINEAR for name in ALL}, "model.embed_tokens", "lm_head")


@given(st.sets(st.sampled_from(ALL), min_size=1))
def test_targets_mean_the_changed_modules_and_no_others(changed: set[str]) -> None:
    names = target_names(changed, ALL)
    assert {module for module in ALL if any(module == name or module.endswith(f".{name}") for name in names)} == changed
    assert names == sorted(names)


def test_targets_are_short_where_they_can_be() -> None:
    assert target_names([module for module in ALL if "proj" in module], ALL) == ["q_proj", "up_proj", "v_proj"]
    assert target_names(ALL[1:36], ALL)[-2:] == ["up_proj", "v_proj"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(ALL), st.integers(1, 9), min_size=1, max_size=8))
def test_what_is_written_is_read_back_with_a_scale_of_one(ranks: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        products = {name: Product(torch.full((6, rank), 0.5), torch.ones(rank, 5)) for name, rank in ranks.items()}
        write_adapter(Path(folder), products, "owner/base", target_names(ranks, ALL), LAYERS)
        factors = read_factors("one", Path(folder), LAYERS)
        assert dict(factors.scales) == dict.fromkeys(ranks, 1.0) and factors.base == "owner/base"
        for name, rank in ranks.items():
            product = factors.product(name)
            assert product is not None and torch.equal(product.dense(), torch.full((6, 5), 0.5 * rank).double())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    product = {"a.q_proj": Product(torch.ones(2, 1), torch.ones(1, 2))}
    with pytest.raises(FinError, match=re.escape(f"{tmp_path}/file/out: cannot be written")):
        write_adapter(tmp_path / "file" / "out", product, "base", ["q_proj"], LAYERS)


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 7))
def test_the_rank_that_would_do(height: int, rank: int) -> None:
    torch.manual_seed(height)
    exact = torch.linalg.svdvals(matrix := torch.randn(height, 7).double())
    rank = min(rank, height)
    share = float(exact[rank:].norm() / exact.norm())
    assert rank_for(matrix, share + 1e-6) == rank
