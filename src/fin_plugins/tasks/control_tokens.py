"""Break chat-control tokens that stand inside a row's text.

lm-eval tokenises the rendered prompt whole, so a row that holds `<|im_end|>` would end the user's turn. A blank behind
the first character keeps the text readable, shows that something was done, and leaves no tokenizer a control token.
"""

import re

_CONTROL = re.compile(
    r"""
    <\|[^|<>\n]{1,64}\|>                                        # ChatML, Llama 3, Phi-3, GPT-NeoX
    | <｜[^｜<>\n]{1,64}｜>                                       # DeepSeek
    | \[/?[A-Z][A-Z_]{2,30}\]                                   # Mistral: [INST], [TOOL_CALLS], [AVAILABLE_TOOLS]
    | <</?SYS>>                                                 # Llama 2
    | </?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>  # SentencePiece models, Gemma
    | <0x[0-9A-Fa-f]{2}>                                        # SentencePiece byte tokens
    """,
    re.VERBOSE,
)


def defuse(text: str) -> str:
    """`text` with every control token broken by one blank: `<|im_end|>` becomes `< |im_end|>`. Idempotent."""
    return _CONTROL.sub(lambda match: match[0][0] + " " + match[0][1:], text)
