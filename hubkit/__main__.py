"""`python -m hubkit`: the command line."""

from hubkit.cli import main

main()
