"""`masa`, and `python -m masa_cli`."""

from masa_cli.cli.app import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
