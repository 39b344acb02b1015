"""`python -m yadtq_core.child`: a worker starts it; it is not a command for users."""

from yadtq_core.child.child import main

main()
