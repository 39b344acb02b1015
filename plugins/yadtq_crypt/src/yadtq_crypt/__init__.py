"""Encrypts arguments and results of yadtq's tasks. yadtq finds it by its entry points; it has no functions to call."""
