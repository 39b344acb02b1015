"""Tasks: the decorator `@task`, the checks of its options and of signatures, retries, and the context of a run."""
