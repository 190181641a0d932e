"""`python -m distillcli` is `distill`."""

from distillcli.cli import process

if __name__ == "__main__":
    process()
