"""Training: from task files to an adapter, with TRL's `SFTTrainer` and PEFT."""
