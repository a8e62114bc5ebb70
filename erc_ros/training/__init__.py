"""Everything that needs torch. Needs the extra `[train]`; nothing else in `erc_ros` imports it."""
