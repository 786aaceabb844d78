"""Going back with a whole job to an older step: newer ones are moved away, and can be brought back.

`plan` says what is moved and written, `texts` what small files say afterwards, `carry` does it, and
`back` and `undo` are the two ways.
"""
