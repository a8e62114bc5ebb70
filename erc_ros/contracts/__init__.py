"""Contract tests for extension classes, of this and other packages.

Test every class that is registered as an entry point:

    pytest --pyargs erc_ros.contracts

Test only the given classes; an option may be repeated:

    pytest -p erc_ros.contracts.options --pyargs erc_ros.contracts --erc-fusion-model my_pkg:Mine

The options are `--erc-fusion-model`, `--erc-face-detector`, and so on (`options.py`). Each kind of
extension has one file of tests. The contract is in the docstring of the protocol class.
"""
