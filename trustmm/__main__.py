"""``python -m trustmm`` and the command ``trustmm``: Ctrl-C within the very first imports is one line, too."""

import os
import sys

try:
    from trustmm.cli.command import entry
except KeyboardInterrupt:
    sys.stderr.write("trustmm: interrupted; repeat the command to continue where it stopped\n")
    sys.stderr.flush()
    os._exit(130)  # see `trustmm.cli.command.entry`

if __name__ == "__main__":
    entry()
