"""Errors a user sees: what went wrong, where, and the next step. The command line prints them without a traceback."""

from __future__ import annotations


class PgsbertError(Exception):
    """Base of every error that is pgsbert's to explain; its text is a full sentence for the user."""


class UsageError(PgsbertError):
    """The caller asked for something that cannot be; the command line exits with 2."""


class ModelNotFoundError(PgsbertError):
    """No folder, installed package, hub cache or reachable hub holds the model."""


class ModelLoadError(PgsbertError):
    """The model's files are there and cannot be used: corrupt, unsafe, incomplete or of another kind."""


class ModelExportError(ModelLoadError):
    """The model cannot be run by ONNX Runtime here; torch may still run it."""


class SchemaError(PgsbertError):
    """The database and this version of pgsbert do not fit, or a needed extension or privilege is missing."""


class ModelOutputError(PgsbertError):
    """The model gave numbers that are not finite: nothing of the batch can be stored or ranked."""


class ImageError(PgsbertError, ValueError):
    """An image that cannot be read, now or later: not a JPEG, PNG or WebP, damaged, or with too many pixels."""


class TextTooLongError(PgsbertError, ValueError):
    """A text has more tokens than the model takes, and its vectorizer refuses such texts."""


class ModelTimeoutError(PgsbertError):
    """A call of the model did not return within its limit; its thread was left behind."""


class ModelHangsError(PgsbertError):
    """So many calls hang in this process that only another process helps; the command line exits with 1."""


class VectorizerTimeoutError(PgsbertError):
    """Rows were still waiting to be embedded when the time was over."""


class MissingPackageError(PgsbertError):
    """A package of an extra is not installed; the text says which extra brings it."""


class DataError(PgsbertError):
    """The labelled pairs cannot be trained or judged on: the text says which row, column or label, and why."""


class TrainingError(PgsbertError):
    """A training could not go on: memory, disk; the text says what is kept and how to go on."""
