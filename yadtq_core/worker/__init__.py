"""The worker: `run_worker` runs one. `assembly.py` shows its parts and threads."""

from yadtq_core.worker.supervisor import run_worker

__all__ = ["run_worker"]
