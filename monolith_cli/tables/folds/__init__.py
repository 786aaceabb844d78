"""What is done to a range of entries: each fold is a small object with its options.

A fold can be pickled and holds nothing that is open. What it makes of one range merges with what
it makes of the next, so that many of them give what one reader of all would.
"""
