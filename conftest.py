"""Loaded before every test of the workspace.

pytest names a test module by its folders, so those in yadtq_builtin_tasks/tests belong to a package of the name of
the distribution itself: unless the real one is imported first, the folder takes its place.
"""

import yadtq_builtin_tasks  # noqa: F401
