"""The decisions of a worker: plain objects without I/O, to which the threads report events and times."""
