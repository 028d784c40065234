"""How figures are printed; read by the command line, which loads no party for its help."""

from enum import StrEnum


class Form(StrEnum):
    """For whom an accuracy table is printed."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"
