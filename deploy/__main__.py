"""`wardround`, and `python -m deploy`: the command line, or what to install to have it."""

import sys


def main() -> None:
    """Run the command line.

    An install for auditors has the offline verifier and none of what the commands need.
    """
    try:
        from deploy.cli import main as run  # noqa: PLC0415 - it may not be installed
    except ModuleNotFoundError as missing:
        sys.exit(
            f"wardround: {missing.name} is not installed; install a party's extras "
            "(wardround[node], [centre], [audit] or [demo]). "
            "Evidence is verified without them: python -m audit verify evidence.tar"
        )
    run()


if __name__ == "__main__":
    main()
