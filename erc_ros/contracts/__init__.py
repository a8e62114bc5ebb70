"""Contract tests for classes of other packages.

Every class that this package and installed packages offer by an entry point:

    pytest --pyargs erc_ros.contracts

Named classes only; an option may be given several times:

    pytest -p erc_ros.contracts.options --pyargs erc_ros.contracts --erc-fusion-model my_pkg:Mine

The options are `--erc-fusion-model`, `--erc-face-detector`, and so on (`options.py`). Each kind has
one file of tests, whose names and docstrings say the clause; the protocol's docstring is the
contract.
"""
