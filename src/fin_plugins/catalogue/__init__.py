"""The available tasks, and a card for each, for people who choose or check one."""
