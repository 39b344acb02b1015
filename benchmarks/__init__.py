"""Measures yadtq beside a program written by hand, on the same Kafka and the same Redis.

    python -m benchmarks [--tasks N] [--rounds N] [--svg FILE]

`by_hand` and its Lua scripts do the work without features: the raw limit. `engine` does it with yadtq. One run measures
both in turn (`rounds`), because the load of a machine changes between runs.
"""
