"""Metrics over label pairs and their standard errors."""
