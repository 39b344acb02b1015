"""Fault runs on real services: a harness that breaks things, the history of what everybody saw, and its checker."""
