"""`python -m yadtq_core.child`: started by a worker, never by hand."""

from yadtq_core.child.child import main

main()
