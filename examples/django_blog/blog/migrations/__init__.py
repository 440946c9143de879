"""Migrations, as makemigrations wrote them."""
