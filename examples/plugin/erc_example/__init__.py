"""Extensions for erc_ros: see README.md."""
