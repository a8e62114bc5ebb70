"""Fusion models: embeddings of a conversation's utterances in, emotions out.

Shapes everywhere: B conversations, U utterances, d width, C labels; the order of the modalities is
text, audio, visual.
"""
