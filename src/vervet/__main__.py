"""``vervet`` and ``python -m vervet``: the command line, which takes a second to load and may be interrupted meanwhile."""

import sys

from vervet import __version__


def main() -> int:
    """Run the command line; the exit status."""
    if sys.argv[1:] == ["--version"]:  # known without loading anything
        sys.stdout.write(f"vervet {__version__}\n")
        return 0
    try:
        from vervet.cli import main as command_line

        return command_line()
    except KeyboardInterrupt:
        sys.stderr.write("vervet: interrupted; nothing was changed\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
