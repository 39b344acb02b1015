"""Encrypts arguments and results of yadtq's tasks. Installed, it is found by its entry points; nothing here is to be
called.
"""
