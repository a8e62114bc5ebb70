"""Print emotion estimates: python3 emotion_subscriber.py [--ros-args -r emotions:=/other]."""

import rclpy
from erc_msgs.msg import EmotionEstimate

rclpy.init()
node = rclpy.create_node("emotion_subscriber")


def print_estimate(message: EmotionEstimate) -> None:
    name = message.person_id or f"speaker {message.speaker_id or '?'}"
    print(f"{name}: {message.label or 'unknown'} ({message.confidence:.0%})", flush=True)


node.create_subscription(EmotionEstimate, "emotions", print_estimate, 50)
rclpy.spin(node)
