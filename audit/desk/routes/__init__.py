"""The desk's routes: each parses a question, calls one function and maps its answer."""
