"""From an utterance to model inputs, one module per modality. Numpy only; training uses it too."""
