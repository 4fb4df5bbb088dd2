"""From task files to an adapter: a thin trainer on TRL's `SFTTrainer` and PEFT."""
