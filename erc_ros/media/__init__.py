"""Media files and transcripts as the values that the pipeline takes."""
