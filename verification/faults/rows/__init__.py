"""The rows of the fault matrix, by what they break."""

from __future__ import annotations

from verification.faults.row import Row
from verification.faults.rows import brokers, clients, stores, versions, workers

ROWS: tuple[Row, ...] = (
    Row(id="W1", play=workers.w1, gap=4.0, restart=3.0),
    Row(id="W1b", play=workers.w1_again, lease=15.0, gap=1.0, restart=0.6),
    Row(id="W2", play=workers.w2, lease=12.0, gap=0.9, restart=0.9),
    Row(id="W3", play=workers.w3, gap=4.5, restart=6.0),
    Row(id="W4", play=workers.w4, gap=4.5, restart=3.5),
    Row(id="W5", play=workers.w5, lease=6.0, gap=1.8),
    Row(id="W6", play=workers.w6, gap=4.5),
    Row(id="W7", play=workers.w7, gap=4.0),
    Row(id="W12", play=workers.w12, lease=15.0, gap=0.9, handover=0.8),
    Row(id="W14", play=workers.w14, gap=3.5),
    Row(id="K1", play=brokers.k1, gap=7.5),
    Row(id="K2", play=brokers.k2, gap=26.0),
    Row(id="K3", play=brokers.k3, gap=24.0),
    Row(id="K4", play=brokers.k4, gap=5.0),
    Row(id="K5", play=brokers.k5, gap=8.0),
    Row(id="K6", play=brokers.k6, gap=4.0),
    Row(id="K7", play=brokers.k7, gap=5.0, restart=3.5),
    Row(id="K10", play=brokers.k10, gap=3.5),
    Row(id="K12", play=brokers.k12, gap=4.0),
    Row(id="K13", play=brokers.k13, gap=4.0),
    Row(id="K14", play=brokers.k14, gap=5.0),
    Row(id="K22", play=brokers.k22, gap=9.5),
    Row(id="R1", play=stores.r1, gap=4.0),
    Row(id="R1b", play=stores.r1_every_second, own_store="aof", gap=4.0),
    Row(id="R2", play=stores.r2, gap=4.0),
    Row(id="R3", play=stores.r3, own_store="none", forgets=True, gap=4.0),
    Row(id="R4", play=stores.r4, forgets=True, gap=4.0),
    Row(id="R5", play=stores.r5, own_store="aof", gap=4.0),
    Row(id="R7", play=stores.r7, gap=4.0, restart=3.5),
    Row(id="R8", play=stores.r8, lease=6.0, gap=2.5),
    Row(id="R9", play=stores.r9, lease=6.0, gap=2.5),
    Row(id="C1", play=clients.c1, gap=3.5),
    Row(id="C1b", play=clients.c1_all_slots_taken, gap=12.0),
    Row(id="C2", play=clients.c2, gap=3.5),
    Row(id="C3", play=clients.c3, gap=3.5),
    Row(id="C4", play=clients.c4, gap=3.5),
    Row(id="C5", play=clients.c5, gap=4.0, restart=3.5),
    Row(id="C6", play=versions.c6, gap=8.0),
    Row(id="C9", play=clients.c9, gap=12.0, restart=3.5),
    Row(id="C10", play=clients.c10, gap=8.5),
)
