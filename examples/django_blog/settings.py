"""The smallest project: one application, one database, named by libpq's variables (PGDATABASE, PGHOST, ...)."""

import os

SECRET_KEY = "only-an-example"  # noqa: S105
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.postgres", "pgsbert.django", "blog"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ.get("PGDATABASE", "blog")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
