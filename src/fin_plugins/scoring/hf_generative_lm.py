"""lm-eval's `hf` with short greedy replies generated after the passes that score labels, for models that allow it.

lm-eval pads entire prompts on the left and computes each of them from its first token. Here the tokens that prompts
share are computed once, as for labels; and if the labels of the very same prompt are scored first, its reply needs no
pass over the prompt at all (`expect_replies`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fin_plugins.compat.lm_eval.prompts import cut_reply, generation_settings, stop_strings
from fin_plugins.scoring.documents import encode_batch
from fin_plugins.scoring.hf_passes import DocumentOutput, ReplyRequest
from fin_plugins.scoring.hf_tree_lm import TreeHF
from fin_plugins.scoring.label_trie import Document, Tokens, label_trie
from fin_plugins.scoring.tree_equivalence import TOLERANCE, exact_length, reply_error, rope_exact_length

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

# Memory for a reply's keys and values is allocated in advance.
_MAX_REPLY_TOKENS = 64

Prompt = tuple[Tokens, ReplyRequest]

_LENGTH_SETTINGS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# Fields of transformers' `GenerationConfig` that do not change a greedy reply, or that lm-eval sets itself. All others
# are assumed to change it, including any that a later transformers adds.
_HARMLESS_SETTINGS = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version", "max_length"),
    *("do_sample", "temperature", "top_k", "top_p", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("use_cache", "cache_implementation", "output_attentions", "output_hidden_states", "output_scores"),
    *("output_logits", "compile_config", "disable_compile", "max_matching_ngram_size"),
)
_NEUTRAL_VALUES = {
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), 1),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "length_penalty", "guidance_scale"), 1.0),
    **dict.fromkeys(("min_length", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
}


class GenerativeTreeHF(TreeHF):
    """Answers generation requests through tree passes; other requests fall back to lm-eval, logged once per reason."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._expected: dict[Tokens, ReplyRequest] = {}
        self._generated: dict[Prompt, Tokens] = {}
        self._reply_incompatibility: str | None = None

    def expect_replies(self, requests: "Sequence[Instance]") -> None:
        """Generate the replies to these requests whenever labels of the same prompts are scored.

        Replies are kept until they are requested, or until another adapter becomes active.
        """
        prompts, _ = self._split_requests(requests)
        for tokens, reply in prompts.values():
            if (tokens, reply) not in self._generated:
                self._expected.setdefault(tokens, reply)

    def has_replies(self, requests: "Sequence[Instance]") -> bool:
        """Whether all these generation requests can be answered from replies generated so far."""
        prompts, fallback = self._split_requests(requests)
        return not fallback and all(prompt in self._generated for prompt in prompts.values())

    def forget_replies(self) -> None:
        """Drop expected and generated replies."""
        self._expected.clear()
        self._generated.clear()

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """As lm-eval's, in fewer passes."""
        prompts, fallback = self._split_requests(requests)
        self._generate(list(prompts.values()), disable_tqdm)
        texts = {index: self._reply_text(prompt) for index, prompt in prompts.items()}
        for index, text in texts.items():
            self.cache_hook.add_partial("generate_until", requests[index].args, text)
        for reason, indices in fallback.items():
            self._log_fallback(len(indices), reason)
        remaining = sorted(index for indices in fallback.values() for index in indices)
        if remaining:
            replies = self._generate_by_lm_eval([requests[index] for index in remaining], disable_tqdm)
            texts.update(zip(remaining, replies, strict=True))
        for prompt in prompts.values():
            self._generated.pop(prompt, None)
        return [texts[index] for index in range(len(requests))]

    def reply_incompatibility(self) -> str:
        """Why this model cannot generate replies through tree passes, empty if it can; tried once."""
        if self._reply_incompatibility is None:
            self._reply_incompatibility = (
                self._unsupported_settings() or self.tree_incompatibility() or self._try_replies()
            )
        return self._reply_incompatibility

    def _generate_by_lm_eval(self, requests: "list[Instance]", disable_tqdm: bool) -> list[str]:
        """lm-eval's own replies, prompt by prompt if a longer neighbour in the batch would change them."""
        bound = rope_exact_length(self._text_config)
        if not bound:
            return list(super().generate_until(requests, disable_tqdm=disable_tqdm))
        prompts = self._encode_prompts([request.args[0] for request in requests])
        lengths = [
            len(prompt) + generation_settings(request.args[1], self.max_gen_toks)["max_gen_toks"]
            for prompt, request in zip(prompts, requests, strict=True)
        ]
        short = [index for index, length in enumerate(lengths) if length <= bound]
        replies = super().generate_until([requests[index] for index in short], disable_tqdm=disable_tqdm)
        texts = dict(zip(short, replies, strict=True))
        for index, length in enumerate(lengths):
            if length > bound:
                with self._single_text_batches():
                    (texts[index],) = super().generate_until([requests[index]], disable_tqdm=True)
        return [texts[index] for index in range(len(requests))]

    def _score_documents(
        self, documents: Sequence[Document], replies: Mapping[Tokens, ReplyRequest]
    ) -> Iterator[tuple[Document, DocumentOutput]]:
        """Also generates the expected replies, and keeps them."""
        replies = {**self._expected, **replies}
        for document, output in super()._score_documents(documents, replies):
            if output.reply is not None:
                self._generated[document.context, replies[document.context]] = output.reply
                self._expected.pop(document.context, None)
            yield document, output

    def _generate(self, prompts: Sequence[Prompt], disable_tqdm: bool) -> None:
        """Generate the replies that are not there yet."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._generated]
        hidden = disable_tqdm or self.rank != 0 or not missing or self.on_answers is not None
        with tqdm(total=len(missing), disable=hidden, desc="Replies") as bar:
            for limits in dict.fromkeys(reply for _, reply in missing):
                replies = {tokens: reply for tokens, reply in missing if reply == limits}
                documents = [Document(tokens, (), label_trie(())) for tokens in sorted(replies)]
                for _ in self._score_documents(documents, replies):
                    (self.on_answers or bar.update)(1)

    def _split_requests(self, requests: "Sequence[Instance]") -> tuple[dict[int, Prompt], dict[str, list[int]]]:
        """Prompts of the requests answered by tree passes, by index; indices of the other requests, by reason."""
        prompts: dict[int, Prompt] = {}
        fallback: dict[str, list[int]] = {}
        model_reason = self._unsupported_setup() or self.reply_incompatibility()
        encoded = [] if model_reason else self._encode_prompts([request.args[0] for request in requests])
        for index, request in enumerate(requests):
            reason = model_reason or self._unsupported_request(encoded[index], request.args[1])
            if reason:
                fallback.setdefault(reason, []).append(index)
            else:
                prompts[index] = tuple(encoded[index]), self._reply_request(request.args[1])
        return prompts, fallback

    def _unsupported_request(self, prompt: Sequence[int], settings: Any) -> str:
        """Why a request falls back to lm-eval; empty if it does not."""
        if not is_greedy_request(settings):
            return "replies that are sampled, or with other settings than a length and stop strings"
        max_tokens = generation_settings(settings, self.max_gen_toks)["max_gen_toks"]
        bound = exact_length(self._text_config)
        if not 0 < max_tokens <= _MAX_REPLY_TOKENS:
            return f"replies of more than {_MAX_REPLY_TOKENS} tokens"
        if not 0 < len(prompt) <= self._max_prompt_length(settings):
            return "longer than the model's context"
        if bound and len(prompt) + max_tokens > bound:
            return f"longer than {bound} tokens, where this model's attention changes"
        return ""

    def _unsupported_settings(self) -> str:
        if self.think_end_token is not None:
            return "think_end_token, which is searched for in complete replies"
        settings = non_greedy_settings(self.model)
        return f"this model's generation settings have {', '.join(settings)}" if settings else ""

    def _try_replies(self) -> str:
        vocabulary = min(self._text_config.vocab_size, len(self.tokenizer))
        try:
            error = reply_error(self._document_scorer(), self._plain_logits, vocabulary)
        except Exception as exception:  # whatever an architecture does with inputs it was not written for
            return f"this model's cache takes no replies ({type(exception).__name__}: {exception})".splitlines()[0]
        tolerated = error <= TOLERANCE.get(self._dtype, max(TOLERANCE.values()))
        return "" if tolerated else f"this model's replies from the cache are off by {error:.2g}"

    def _reply_request(self, settings: Any) -> ReplyRequest:
        normalized = generation_settings(settings, self.max_gen_toks)
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = tuple(stop_strings(normalized["until"], eos=eos))
        return ReplyRequest(normalized["max_gen_toks"], until, partial(self._is_complete, until))

    def _is_complete(self, until: Sequence[str], tokens: Sequence[int]) -> bool:
        """lm-eval's stopping rules for a prompt answered alone."""
        eos = self.model.generation_config.eos_token_id
        if tokens[-1] in (eos if isinstance(eos, list) else [eos]):
            return True
        text = self.tok_decode(tokens, skip_special_tokens=False)
        return any(stop in text for stop in until)

    def _reply_text(self, prompt: Prompt) -> str:
        return cut_reply(self.tok_decode(self._generated[prompt]), prompt[1].until)

    def _encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Encode each prompt as lm-eval's `tok_batch_encode` would alone; `tok_encode` differs slightly."""
        bos = getattr(self.tokenizer, "bos_token", None)
        return encode_batch(self.tokenizer, prompts, bos, self.add_bos_token)

    def _max_prompt_length(self, settings: dict[str, Any]) -> int:
        """Number of prompt tokens that lm-eval does not truncate before it generates."""
        reserved = generation_settings(settings, self.max_gen_toks)["max_gen_toks"] if self.backend == "causal" else 0
        length = int(self.max_length - reserved)
        return min(length, self.tokenizer.model_max_length) if self.truncation else length


def is_greedy_request(settings: Any) -> bool:
    """Whether a request's settings are only a length and stop strings, without sampling."""
    if not isinstance(settings, Mapping):
        return False
    known = {"until", "do_sample", "temperature", *_LENGTH_SETTINGS}
    sampling = settings.get("do_sample")
    return known.issuperset(settings) and not sampling and (sampling is False or not settings.get("temperature"))


def non_greedy_settings(model: Any) -> list[str]:
    """Settings of a `transformers` model that make its generation more than taking the likeliest token."""
    from transformers import GenerationMixin

    base = getattr(model, "get_base_model", lambda: model)()
    overridden = getattr(type(base), "generate", None) is not GenerationMixin.generate
    config = base.generation_config.to_dict() if base.generation_config else {}
    return (["a generate method of its own"] if overridden else []) + sorted(
        name
        for name, value in config.items()
        if not (value is None or value is False or name.startswith("_") or name in _HARMLESS_SETTINGS)
        and not (name in _NEUTRAL_VALUES and value == _NEUTRAL_VALUES[name])
    )
