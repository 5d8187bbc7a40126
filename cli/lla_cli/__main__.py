"""``python -m lla_cli``: the command line where the script is not on the path."""

from lla_cli.main import main

main()
