"""The process in which tasks run, and the pipes to its worker.

`child` is the process and its slots, `runner` runs one job, `pipeline` binds a task to its hooks, `pipe` is the
protocol between worker and child. Nothing here imports kafka or redis.
"""
