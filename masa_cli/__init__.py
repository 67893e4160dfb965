"""masa: match anything in any video, from one command."""

__version__ = "0.1.0"
