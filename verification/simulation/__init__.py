"""The protocol under deterministic test: one seed is one history.

Real: the Lua scripts on a real Valkey, `RedisBackend`, the worker's rules and the loops that drive them, `Worker` with
its start and stop, the client's `Submitter` and `Confirmer`. Modelled: Kafka (`kafka.py`), the children
(`executor.py`), the clock and the order in which threads run (`strands.py`), and everything that goes wrong
(`plan.py`, `faults.py`). `truth.py` watches every change of every record, `checker.py` judges the whole.

    python -m verification.simulation --seeds 2000
    python -m verification.simulation --seeds 1 --from 17 --history
    python -m verification.simulation --mutants
"""
