"""The hospital's part: images in, votes, patient-level private training, and what may leave.

Everything here runs inside one hospital with its own database, keys and log. A node connects
outbound only, believes no server, and answers a refusal as politely as a result.
"""
