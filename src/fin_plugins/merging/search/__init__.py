"""Search for the weights of a linear merge of adapters, on validation rows and one running engine."""
