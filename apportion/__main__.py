"""`python -m apportion`: the command line."""

from apportion.cli.app import main

if __name__ == "__main__":
    main()
