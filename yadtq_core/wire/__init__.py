"""Messages, arguments and results as bytes.

`decode` is public: it turns the body of a message (from a topic, a stream or a dead letter) into a `Message`.
"""

from __future__ import annotations

from yadtq_core.wire.envelope import decode

__all__ = ["decode"]
