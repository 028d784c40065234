"""Patient-level differentially private training, inside one hospital.

The one rule: a patient's images enter a step together, are clipped together, and what leaves is the
clipped sum with noise that was billed before. Nothing here knows the network or the ledger.
"""
