"""`python train.py` is `dnr-train`, for a clone."""

from dnr_env.cli.train import main

if __name__ == "__main__":
    main()
