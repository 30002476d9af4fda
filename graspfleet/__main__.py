"""`python -m graspfleet`: the `graspfleet` command when its script is not on PATH."""

from graspfleet.cli import main

if __name__ == "__main__":
    main()
