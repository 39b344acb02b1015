"""Failures of tasks in Sentry."""
