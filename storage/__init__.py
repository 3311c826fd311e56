"""Durable stores of one node: synchronous, without network or tasks."""
