"""Plans and the ballots about them: what may run, and who said so.

Ballots are read from the log and believed by their signatures alone; the decision is the
protocol's pure rule.
"""
