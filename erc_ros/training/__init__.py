"""Training: everything that imports torch (extra `[train]`). Other packages do not import it."""
