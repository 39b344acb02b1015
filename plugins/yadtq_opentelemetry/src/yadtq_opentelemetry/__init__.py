"""One OpenTelemetry trace of a task: its submit, its wait, its runs, and what they submit."""
