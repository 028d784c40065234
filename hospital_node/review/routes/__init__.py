"""The routes of the review page: parse, call one function, map the result. No rules here."""
