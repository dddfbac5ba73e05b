"""``python -m trustmm``."""

from trustmm.cli.run import main

if __name__ == "__main__":
    main()
