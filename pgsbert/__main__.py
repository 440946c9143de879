"""`python -m pgsbert` is `pgsbert`, whichever environment it lives in."""

from pgsbert.cli import main

main()
