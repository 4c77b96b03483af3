"""Networks of keras.applications in PyTorch, and weights that Keras saves; Keras is not needed.

`layers` has what its layers compute, `sketch` puts them together by Keras's names, `networks` are
the six, `files` reads what it saves, and `matching` finds a network's layers in what was read.
"""
