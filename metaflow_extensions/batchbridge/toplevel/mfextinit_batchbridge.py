"""What ``metaflow.__version__`` says about this extension."""

from __future__ import annotations

toplevel = "toplevel"
