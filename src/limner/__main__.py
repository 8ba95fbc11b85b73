"""``python -m limner`` is the command ``limner``."""

from limner.cli import main

main()
