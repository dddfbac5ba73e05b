"""``python -m trustmm``, the same as the command ``trustmm``."""

import sys

try:
    from trustmm.cli.command import entry
except KeyboardInterrupt:
    sys.stderr.write("trustmm: interrupted; repeat the command to continue where it stopped\n")
    raise SystemExit(130) from None

if __name__ == "__main__":
    entry()
