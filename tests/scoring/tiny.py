"""Small random models with one vocabulary, and requests for them; weights are large, so that a wrong mask shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from transformers import AutoTokenizer, PreTrainedModel, set_seed

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def save_tiny(folder: Path, tokenizer: Path, model_class: type[PreTrainedModel], config: Any) -> Path:
    """A random model beside a copy of a tokenizer, as a checkpoint."""
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    set_seed(11)
    model_class(config).save_pretrained(folder)
    return folder


def instances(pairs: Sequence[tuple], kind: str = "loglikelihood", task: str = "task") -> list[Instance]:
    """Requests as lm-eval makes them: one a pair; pairs with the same first half belong to one document."""
    documents = {first: number for number, first in enumerate(dict.fromkeys(pair[0] for pair in pairs))}
    return [Instance(kind, {}, pair, 0, metadata=(task, documents[pair[0]], 1)) for pair in pairs]


def close(ours: Sequence[tuple[float, bool]], theirs: Sequence[tuple[float, bool]], tolerance: float = 1e-4) -> bool:
    """Same log-likelihoods within `tolerance` nats, and the very same `is_greedy`."""
    assert len(ours) == len(theirs)
    return all(abs(a - b) <= tolerance and g is h for (a, g), (b, h) in zip(ours, theirs, strict=True))
