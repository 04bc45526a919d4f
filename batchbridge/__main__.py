"""``python -m batchbridge``: the command line."""

from batchbridge.cli import main

if __name__ == "__main__":
    main()
