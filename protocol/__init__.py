"""Formats, cryptography and state machines of the document axis: pure functions from bytes to values and back."""
