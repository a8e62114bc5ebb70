"""Encoders: from an utterance to its embedding, by any pretrained model on this machine.

One interface for all (`sample.Encoder`): text, speech and video models of Hugging Face,
descriptions of images, and the small encoders of a bundle.
"""
