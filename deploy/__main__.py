"""`python -m deploy` is the command `wardround`, for where no script was installed."""

from deploy.cli import main

if __name__ == "__main__":
    main()
