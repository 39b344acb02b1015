"""The rows of the fault matrix, by what they break."""

from __future__ import annotations

from tests.faults.row import Row
from tests.faults.rows import brokers, stores, workers

ROWS: tuple[Row, ...] = (
    Row(id="W1", play=workers.w1, gap=4.0, restart=3.0),
    Row(id="W2", play=workers.w2, gap=4.0, restart=0.9),
    Row(id="W3", play=workers.w3, gap=4.0),
    Row(id="W4", play=workers.w4, gap=4.0),
    Row(id="W5", play=workers.w5),
    Row(id="W6", play=workers.w6),
    Row(id="W12", play=workers.w12, lease=15.0, handover=0.8),
    Row(id="W14", play=workers.w14),
    Row(id="K1", play=brokers.k1),
    Row(id="R1", play=stores.r1),
)
