"""The record that cannot be unsaid: a verifiable log, its proofs, and those who check them.

The trust core (canonical, merkle, note, checkpoint, entry, tiles, proof, verify) is pure and needs
`cryptography` alone; the service around it stores and serves. It knows bytes and kinds of event,
never what a plan is for.
"""
