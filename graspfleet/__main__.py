"""`python -m graspfleet`: the command, where its script is not in PATH."""

from graspfleet.cli import main

if __name__ == "__main__":
    main()
