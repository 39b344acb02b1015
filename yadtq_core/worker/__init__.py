"""The worker: intake, executor, completion and keeper, each a small part; `run_worker` runs one."""

from yadtq_core.worker.supervisor import run_worker

__all__ = ["run_worker"]
