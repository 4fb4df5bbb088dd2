"""What tasks there are, and the card of each, for people who choose or check one."""
