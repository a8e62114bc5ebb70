"""Conversion of utterances to network inputs, one module per modality, shared with training."""
