"""Everything that is measured, each with its command. See docs/results.md."""

import erc_ros  # noqa: F401  before numpy: it says how many threads numpy's products take
