"""``python -m trustmm``."""

from trustmm.app import main

if __name__ == "__main__":
    main()
