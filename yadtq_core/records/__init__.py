"""The kit for backends: the rules of task records over a small `RecordStore`.

A backend in Redis runs the rules as Lua scripts. Any other store with transactions needs none of them: it implements
`RecordStore` and `Transaction` (`store.py`), and `StoreBackend` is the complete `interfaces.Backend` on it.

    def open(settings: Settings) -> Backend:
        return StoreBackend(MyStore(settings.backend, settings.namespace), settings)

`backends/memory.py` is the reference store, `examples/sqlite_backend` one that keeps its records on disk, and
`docs/writing-a-backend.md` the way to one's own. `yadtq_core.testing.BackendContract` tests any of them, and Redis, by
the same promises.

Each rule is a function of one record, what is asked, and the moment: `submits.py` (create, confirm, cancel),
`claims.py` (claim, offer), `runs.py` (extend, finish, release), `ready.py` (take, recover), `sweeps.py`, `epochs.py`.
`batch.py` reads and writes the records of a call, `record.py` is their encoding, and `indexes.py` says where a store
lists them.
"""

from yadtq_core.records.backend import StoreBackend
from yadtq_core.records.indexes import OPEN, SCHEDULED
from yadtq_core.records.record import DamagedRecord, StoredRecord, decode, encode
from yadtq_core.records.store import EndListener, Entry, RecordStore, Transaction

__all__ = [
    "OPEN",
    "SCHEDULED",
    "DamagedRecord",
    "EndListener",
    "Entry",
    "RecordStore",
    "StoreBackend",
    "StoredRecord",
    "Transaction",
    "decode",
    "encode",
]
