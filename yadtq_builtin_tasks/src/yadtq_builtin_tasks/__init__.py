"""The built-in tasks of yadtq: add, sub, mul, sleep, slow_task."""
