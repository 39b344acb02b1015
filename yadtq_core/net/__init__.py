"""Connections to Redis or Valkey, TLS, and the probe that names the service behind an address."""
