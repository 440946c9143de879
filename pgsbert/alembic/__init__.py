"""pgsbert in Alembic: operations for vectorizers, and autogenerate that finds them.

Importing this in env.py is all there is to set up.
"""

from pgsbert.alembic import autogenerate, render
from pgsbert.alembic.operations import CreateVectorizerOp, DropVectorizerOp, InstallPgsbertOp

__all__ = ["CreateVectorizerOp", "DropVectorizerOp", "InstallPgsbertOp", "autogenerate", "render"]
