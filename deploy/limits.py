"""How small a demo may be; read by the command line, which loads no party for its help."""

MINIMUM_PATIENTS = 50
"""Training patients below which a hospital of the demo must refuse: patient-level noise for fewer
leaves nothing to learn."""

SMALLEST_COHORT = 72
"""Synthetic patients a hospital, of whom a quarter are held out, so that enough train."""
