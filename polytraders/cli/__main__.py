"""`python -m polytraders.cli`."""

from polytraders.cli import main

main()
