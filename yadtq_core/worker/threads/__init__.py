"""One loop for each thread of a worker, and the parts that only that thread uses."""
