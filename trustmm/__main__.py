"""``python -m trustmm``, the same as the command ``trustmm``."""

from trustmm.cli.command import entry

if __name__ == "__main__":
    entry()
