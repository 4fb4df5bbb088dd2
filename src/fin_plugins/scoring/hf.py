"""`fin_hf`: lm-eval's Hugging Face class, with all labels of a document scored from one pass.

lm-eval's `hf` computes the whole context again for every choice of more than one token, and the vocabulary at every
position of it. Here the tokens that documents begin with are computed once, and each document's own tokens and all
nodes of its label trie go through the model together, every node seeing the context and its own ancestors only. Short
greedy replies are written behind the very same passes (`hf_replies`).
"""

from typing import TYPE_CHECKING, Any

import torch
from lm_eval.api.registry import register_model

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.documents import count_cut
from fin_plugins.scoring.encoding import encode_all, encode_pairs
from fin_plugins.scoring.finite import check_before_generation, finite_answers
from fin_plugins.scoring.hf_attachment import AttachmentHF

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


@register_model("fin_hf")
class FinHF(AttachmentHF):
    """lm-eval's `hf` with the same arguments and the same scores, and less work for a closed set of labels.

    `batch_size` counts documents; with `auto` it is `max_batch_size` (by default 64, on a CPU 16). It is halved where
    the device's memory does not suffice, and rows of very different lengths make smaller batches. A further argument,
    `adapter_name=NAME`, is recorded in the result file.
    """

    supports_prune = False

    def __init__(self, *arguments: Any, adapter_name: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.truncated: dict[str, int] = {}
        """Documents whose prompt did not fit and was cut, by task."""

    @property
    def prune(self) -> bool:
        """Best-first walks are not offered: all nodes of a document are one pass."""
        return False

    @prune.setter
    def prune(self, value: bool) -> None:
        if value:
            raise FinError("--prune has nothing to save with fin_hf, which asks all labels in one pass: leave it out")

    def label_logprobs(self, prompts: list[list[int]]) -> list[list[float]]:
        """Log-probabilities (nats) of each prompt's tokens, from the second on, given those before."""
        found = []
        for prompt in prompts:
            logprobs = self._plain(tuple(prompt)).float().log_softmax(dim=-1)
            after = torch.tensor(prompt[1:], device=logprobs.device)
            found.append(logprobs[:-1].gather(-1, after[:, None]).squeeze(-1).tolist())
        return found

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into the result file's `config`."""
        return {**super().get_model_info(), "fin": {"truncated": dict(self.truncated), "pruned": False}}

    @finite_answers
    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's, with every distinct string encoded once and cut documents counted."""
        if self.enable_thinking or self.backend != "causal":
            lengths = map(len, self._encode_many([request.args[0] for request in requests]))
            count_cut(
                self.truncated, requests, [length > self.max_length for length in lengths]
            )  # what the encoder takes
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]
        pairs = [request.args for request in requests]
        encoded = encode_pairs(pairs, self._encode_many, self.prefix_token_id)
        room = self.max_length + 1  # the last token is only asked for
        count_cut(
            self.truncated, requests, [len(context) + len(continuation) > room for context, continuation in encoded]
        )
        tokens = [(pair, *both) for pair, both in zip(pairs, encoded, strict=True)]
        return self.score_tokens(tokens, disable_tqdm=disable_tqdm)

    @finite_answers
    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """lm-eval's own."""
        return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """As lm-eval's, with cut documents counted."""
        encoded = self._encode_many([request.args[0] for request in requests])
        if encoded and self.backend == "causal":
            check_before_generation(self, requests, min(encoded, key=len)[-self.max_length :])
        lengths = map(len, encoded)
        rooms = [self._prompt_room(request.args[1]) for request in requests]
        count_cut(self.truncated, requests, [length > room for length, room in zip(lengths, rooms, strict=True)])
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def _encode_many(self, string: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """`tok_encode` of every string."""
        begin = self.tokenizer.decode(self.prefix_token_id) if add_special_tokens is None else None
        special = self.add_bos_token if add_special_tokens is None else add_special_tokens
        return encode_all(self.tokenizer, string, begin, special)
