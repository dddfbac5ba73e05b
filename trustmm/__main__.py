"""``python -m trustmm`` and the command ``trustmm``: Ctrl-C within the very first imports is one line, too."""

import sys

try:
    from trustmm.cli.command import entry
except KeyboardInterrupt:
    sys.stderr.write("trustmm: interrupted; repeat the command to continue where it stopped\n")
    raise SystemExit(130) from None

if __name__ == "__main__":
    entry()
