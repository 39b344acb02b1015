"""Brokers carry messages: one package or module each, opened by the scheme of its address."""
