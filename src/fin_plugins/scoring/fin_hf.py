"""`fin_hf`: lm-eval's Hugging Face class with all labels of a document scored in one pass, and exchangeable adapters.

lm-eval's `hf` recomputes the full context for every label of more than one token, and the vocabulary at every position
of it. Here shared prefixes are computed once, and each document's remaining tokens and all nodes of its label trie go
through the model together, each node attending only to the context and its own ancestors. Short greedy replies are
generated after the very same passes (`hf_generative_lm`).

Each adapter gives the answers that PEFT alone gives, whatever was attached before. A plain LoRA replaces the plain one
before it, which takes reading some megabytes. For every other kind the base is loaded again, because PEFT detaches
such an adapter without undoing all its changes to the modules.
"""

import gc
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils.memory import clear_device_cache
from lm_eval.api.registry import register_model

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.adapters import Adapter
from fin_plugins.scoring.documents import count_truncated, encode_batch, encode_pairs
from fin_plugins.scoring.finite_scores import check_finite_before_generation, require_finite
from fin_plugins.scoring.hf_adapters import (
    PEFT_ERRORS,
    attach_adapter,
    cast_adapter,
    is_plain_lora,
    limit_vocabulary,
    make_head_input_contiguous,
    replace_plain_adapter,
)
from fin_plugins.scoring.hf_generative_lm import GenerativeTreeHF

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from torch.utils.hooks import RemovableHandle


@register_model("fin_hf")
class FinHF(GenerativeTreeHF):
    """lm-eval's `hf` with the same arguments and the same scores, and less work for a closed set of labels.

    `batch_size` counts documents; `auto` means `max_batch_size` (by default 64, or 16 on a CPU). It is halved when the
    device runs out of memory, and rows of very different lengths make smaller batches. The additional argument
    `adapter_name=NAME` is recorded in the result file.
    """

    supports_prune = False

    def __init__(self, *arguments: Any, adapter_name: str = "", **settings: Any) -> None:
        from peft import PeftModel

        self._load_settings: dict[str, Any] | None = None
        """Settings that the base was loaded with; None if the model was given as an object."""
        super().__init__(*arguments, **settings)
        if settings.get("peft"):  # a model given as an object may be in training, and is not changed
            self.loaded_model = cast_adapter(self.loaded_model)
        make_head_input_contiguous(self.loaded_model)
        self._has_plain_adapter = False
        """Whether a plain adapter is attached, active or not."""
        self._has_permanent_adapter = isinstance(self.loaded_model, PeftModel)
        """Whether an adapter that cannot be detached is attached."""
        self._base_parameters: int | None = None
        self._vocabulary_limit: RemovableHandle | None = None
        self.truncated: dict[str, int] = {}
        """Number of documents whose prompt was truncated, by task."""

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Answer all later requests with the base plus `adapter`, or with the base alone (None).

        Raises:
            FinError: the adapter does not fit the base, or requires a base that cannot be loaded again.
        """
        self.forget_replies()
        if self._vocabulary_limit is not None:
            self._vocabulary_limit.remove()
            self._vocabulary_limit = None
        self.peft = None
        if adapter is None:
            self._detach()
            return
        self._attach(adapter)
        self.peft = str(adapter.path)
        # When lm-eval loads an adapter, it drops embeddings without a token in the tokenizer.
        self._vocabulary_limit = limit_vocabulary(self.loaded_model, len(self.tokenizer))

    def get_model_info(self) -> dict[str, Any]:
        """Information that lm-eval writes into the result file's `config`."""
        info: dict[str, Any] = super().get_model_info()
        if self.peft is None and self._base_parameters is not None:  # an inactive adapter is not part of the base
            info["model_num_parameters"] = self._base_parameters
        return {**info, "fin": {"truncated": dict(self.truncated), "pruned": False}}

    def load_model(self, *arguments: Any, **settings: Any) -> None:
        """As lm-eval's; keeps the settings, so that the base can be loaded again."""
        self._load_settings = {**settings, "peft": None}
        super().load_model(*arguments, **settings)

    @property
    def prune(self) -> bool:
        """Always False: all nodes of a document are scored in one pass."""
        return False

    @prune.setter
    def prune(self, value: bool) -> None:
        if value:
            raise FinError("--prune saves nothing with fin_hf, which scores all labels in one pass: leave it out")

    def label_logprobs(self, prompts: list[list[int]]) -> list[list[float]]:
        """Log-probabilities (nats) of each prompt's tokens from the second on, given the preceding ones."""
        results = []
        for prompt in prompts:
            logprobs = self._plain_logits(tuple(prompt)).float().log_softmax(dim=-1)
            targets = torch.tensor(prompt[1:], device=logprobs.device)
            results.append(logprobs[:-1].gather(-1, targets[:, None]).squeeze(-1).tolist())
        return results

    @require_finite
    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's, but encodes each distinct string once and counts truncated documents."""
        if self.enable_thinking or self.backend != "causal":
            contexts = self.encode_strings([request.args[0] for request in requests])
            count_truncated(self.truncated, requests, [len(context) > self.max_length for context in contexts])
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]
        pairs = [request.args for request in requests]
        encoded = encode_pairs(pairs, self.encode_strings, self.prefix_token_id)
        limit = self.max_length + 1  # the last token is not an input
        truncated = [len(context) + len(continuation) > limit for context, continuation in encoded]
        count_truncated(self.truncated, requests, truncated)
        tokens = [(pair, *both) for pair, both in zip(pairs, encoded, strict=True)]
        return self.score_tokens(tokens, disable_tqdm=disable_tqdm)

    @require_finite
    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """As lm-eval's."""
        return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """As lm-eval's, but counts truncated documents."""
        encoded = self.encode_strings([request.args[0] for request in requests])
        if encoded and self.backend == "causal":
            check_finite_before_generation(self, requests, min(encoded, key=len)[-self.max_length :])
        limits = [self._max_prompt_length(request.args[1]) for request in requests]
        truncated = [len(prompt) > limit for prompt, limit in zip(encoded, limits, strict=True)]
        count_truncated(self.truncated, requests, truncated)
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def encode_strings(self, string: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """`tok_encode` for a list of strings."""
        bos = self.tokenizer.decode(self.prefix_token_id) if add_special_tokens is None else None
        special = self.add_bos_token if add_special_tokens is None else add_special_tokens
        return encode_batch(self.tokenizer, string, bos, special)

    def _detach(self) -> None:
        if self._has_permanent_adapter:
            self._reload_base()
        elif self._has_plain_adapter:
            self.loaded_model.base_model.disable_adapter_layers()

    def _attach(self, adapter: Adapter) -> None:
        if self._has_permanent_adapter:
            self._reload_base()
        plain = is_plain_lora(self.loaded_model, adapter)
        if plain and self._has_plain_adapter:
            try:
                self.loaded_model = replace_plain_adapter(self.loaded_model, adapter)
                return
            except PEFT_ERRORS:  # attached from scratch below, so that the error message is about this adapter
                self._reload_base()
        if self._has_plain_adapter:
            self.loaded_model = self.loaded_model.unload()
            self._has_plain_adapter = False
        if not plain and self._load_settings is None:
            raise FinError(
                f"adapter {adapter.name} ({adapter.path}) is more than plain LoRA and changes the model it is attached "
                "to, and this model was given as an object: give the model's folder as pretrained="
            )
        if self._base_parameters is None:
            self._base_parameters = self.loaded_model.num_parameters()
        self._has_permanent_adapter = True  # until attaching has succeeded
        self.loaded_model = attach_adapter(self.loaded_model, adapter)
        self._has_plain_adapter, self._has_permanent_adapter = plain, not plain

    def _reload_base(self) -> None:
        """Load the base again; the old one is dropped first, so that only one is in memory."""
        if self._load_settings is None:
            raise FinError(
                "an adapter cannot be detached from a model that was given as an object: give its folder as pretrained="
            )
        device = self.loaded_model.device
        self.loaded_model = None
        gc.collect()
        clear_device_cache()
        super().load_model(**self._load_settings)
        if not hasattr(self.loaded_model, "hf_device_map") and self.loaded_model.device != device:
            self.loaded_model.to(device)  # lm-eval does this after loading
        self.loaded_model.eval()
        self.loaded_model.tie_weights()
        make_head_input_contiguous(self.loaded_model)
        self._has_plain_adapter = self._has_permanent_adapter = False
