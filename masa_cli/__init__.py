"""masa: match anything in any video, from one command."""

from masa_cli.api import TrackedFrame, track

__version__ = "0.1.0"
__all__ = ["TrackedFrame", "track"]
