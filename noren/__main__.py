"""python -m noren."""

from noren.cli import main

main()
