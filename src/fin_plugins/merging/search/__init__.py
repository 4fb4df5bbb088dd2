"""Looks for the weights of a merge of adapters: on validation rows, on one running engine, never on test rows."""
