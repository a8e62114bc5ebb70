"""Prints how everybody felt: python3 emotion_subscriber.py [--ros-args -r emotions:=/other]."""

import rclpy
from erc_msgs.msg import EmotionEstimate

rclpy.init()
node = rclpy.create_node("emotion_subscriber")


def hear(message: EmotionEstimate) -> None:
    who = message.person_id or f"speaker {message.speaker_id or '?'}"
    print(f"{who}: {message.label or 'unknown'} ({message.confidence:.0%})", flush=True)


node.create_subscription(EmotionEstimate, "emotions", hear, 50)
rclpy.spin(node)
