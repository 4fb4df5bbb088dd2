"""`fin_hf` with adapters: each answers as PEFT alone has it, whatever was attached before.

A plain LoRA takes the place of the plain one before it, which costs the reading of some megabytes. Around every other
kind the base is loaded anew: PEFT takes such an adapter off again, but not all that it did to the modules.
"""

import gc
from typing import TYPE_CHECKING, Any

from accelerate.utils.memory import clear_device_cache

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.adapters import Adapter
from fin_plugins.scoring.hf_adapters import (
    PEFT_ERRORS,
    attach,
    cut_vocabulary,
    fold_head,
    in_base_dtype,
    is_plain,
    replace_plain,
)
from fin_plugins.scoring.hf_replies import ReplyHF

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class AttachmentHF(ReplyHF):
    """Answers by the base or by one adapter on it; the base comes back as it was loaded."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        from peft import PeftModel

        self._loading: dict[str, Any] | None = None
        """What the base was loaded with; None where the model was given as an object."""
        super().__init__(*arguments, **settings)
        if settings.get("peft"):  # not where a model is given, which may be one in training
            self.loaded_model = in_base_dtype(self.loaded_model)
        fold_head(self.loaded_model)
        self._has_plain = False
        """A plain adapter is on the base, in use or not."""
        self._has_other = isinstance(self.loaded_model, PeftModel)
        """Something is on the base that cannot be taken off."""
        self._base_parameters: int | None = None
        self._cut: RemovableHandle | None = None

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Answer every later request by the base with `adapter`, or by the base alone (None).

        Raises:
            FinError: the adapter does not fit the base, or would need a base that cannot be loaded anew.
        """
        self.forget_replies()
        if self._cut is not None:
            self._cut.remove()
            self._cut = None
        self.peft = None
        if adapter is None:
            self._detach()
            return
        self._attach(adapter)
        self.peft = str(adapter.path)
        # Where lm-eval loads an adapter, it drops the embeddings that no token of the tokenizer has.
        self._cut = cut_vocabulary(self.loaded_model, len(self.tokenizer))

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into the result file's `config`."""
        info: dict[str, Any] = super().get_model_info()
        if self.peft is None and self._base_parameters is not None:  # an idle adapter is not part of the base
            info["model_num_parameters"] = self._base_parameters
        return info

    def load_model(self, *arguments: Any, **settings: Any) -> None:
        """As lm-eval's; the settings are kept, so that the base can be loaded anew."""
        self._loading = {**settings, "peft": None}
        super().load_model(*arguments, **settings)

    def _detach(self) -> None:
        if self._has_other:
            self._load_base()
        elif self._has_plain:
            self.loaded_model.base_model.disable_adapter_layers()

    def _attach(self, adapter: Adapter) -> None:
        if self._has_other:
            self._load_base()
        plain = is_plain(self.loaded_model, adapter)
        if plain and self._has_plain:
            try:
                self.loaded_model = replace_plain(self.loaded_model, adapter)
                return
            except PEFT_ERRORS:  # attached anew, so that the reason is the adapter's own
                self._load_base()
        if self._has_plain:
            self.loaded_model = self.loaded_model.unload()
            self._has_plain = False
        if not plain and self._loading is None:
            raise FinError(
                f"adapter {adapter.name} ({adapter.path}) is more than plain LoRA and changes the model it is put on, "
                "and this one was given as an object: give the model's folder as pretrained="
            )
        if self._base_parameters is None:
            self._base_parameters = self.loaded_model.num_parameters()
        self._has_other = True  # until all has gone well
        self.loaded_model = attach(self.loaded_model, adapter)
        self._has_plain, self._has_other = plain, not plain

    def _load_base(self) -> None:
        """Load the base anew; the old one is dropped before, so that memory holds one of them."""
        if self._loading is None:
            raise FinError(
                "an adapter cannot be taken off a model that was given as an object: give its folder as pretrained="
            )
        device = self.loaded_model.device
        self.loaded_model = None
        gc.collect()
        clear_device_cache()
        super().load_model(**self._loading)
        if not hasattr(self.loaded_model, "hf_device_map") and self.loaded_model.device != device:
            self.loaded_model.to(device)  # as lm-eval does after loading
        self.loaded_model.eval()
        self.loaded_model.tie_weights()
        fold_head(self.loaded_model)
        self._has_plain = self._has_other = False
