"""From what an experiment file says to a plan: the steps, what each depends on, and what it will take."""
