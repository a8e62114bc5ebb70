"""From an utterance to its embedding, by any pretrained model that lies on this machine.

One interface for all (`sample.Encoder`): text, speech and video models of Hugging Face,
descriptions of what is seen, and the small encoders of a bundle.
"""
