"""The streams broker beyond its contract."""
