"""Who said what when: voice activity, diarization, ASR alignment, utterance assembly. No ROS."""
