"""A Singer tap for Klaviyo. Programs use `tap_klaviyo.library`."""

from __future__ import annotations

__all__ = ["__version__", "main"]
__version__ = "0.1.0"


def main() -> int:
    """Run the command line; the console script's entry point."""
    try:
        from tap_klaviyo import cli

        return cli.main()
    except KeyboardInterrupt:  # before the command has its own handling of signals
        return 130
