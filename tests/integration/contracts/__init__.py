"""The contract suites on every implementation of the core."""
