"""`python evaluate.py` is `dnr`, for a clone."""

from dnr_env.cli.main import main

if __name__ == "__main__":
    main()
