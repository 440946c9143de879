"""The SQL of pgsbert: what is installed in the database, and the named statements the worker runs."""
