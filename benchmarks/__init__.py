"""What batchbridge costs, side by side with what its users would run instead.

``make bench`` runs everything; ``python -m benchmarks NAME…`` some. Candidates take turns, round by
round, so that a busy machine slows them all; a number is the median of its rounds.
"""
