"""`python -m client`, or `darkroom` where it is installed."""

from .command import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
