"""`fin train`. The command stands beside the trainer, because `accelerate launch` needs it too."""

from fin_plugins.training.command import command as command
