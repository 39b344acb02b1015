"""How fast yadtq is, beside what the same Kafka and the same Redis give to a program written by hand.

    python -m benchmarks [--tasks N] [--rounds N] [--svg FILE]

`by_hand` and its Lua scripts do the work with no feature at all: the raw limit. `engine` does it with yadtq. Both
are measured in turn within one run (`rounds`), because figures of two runs cannot be compared: the machine moves.
"""
