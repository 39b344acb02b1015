"""Metrics of a yadtq worker and of its installation's queues, for Prometheus."""
