"""Reference vectors of other implementations, replayed through the public functions of stats/.

    PYTHONPATH=tests/vectors python -m replay FOLDER

Format of a vector: the README of the folder. A number passes within the tolerance of its method; a difference
is explained only by a listed reason that holds for that case; what is neither fails. Nothing is skipped in
silence.
"""
