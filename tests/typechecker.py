"""What checks types and shapes at run time, as `--jaxtyping-packages` names it."""

from beartype import BeartypeConf, beartype

# A whole number is a float, as everywhere in Python's typing.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
