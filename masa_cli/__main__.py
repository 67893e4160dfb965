"""`masa`, and `python -m masa_cli`."""

import sys

from masa_cli.cli.app import app, with_shell_named


def main() -> None:
    """Run the command line."""
    app(with_shell_named(sys.argv[1:]), prog_name="masa")


if __name__ == "__main__":
    main()
