"""Evaluation of recordings against annotated words, speakers and emotions."""
