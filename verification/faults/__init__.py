"""Fault runs on real services: a harness that causes faults, the history that all processes write, and its checker."""
