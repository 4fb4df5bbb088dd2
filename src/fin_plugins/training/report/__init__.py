"""What a run writes down: the record, the model card, the plot."""
