#!/usr/bin/env bash
# Starts the nodes with the arguments that docker run was given; a first word that is no NAME:=VALUE is
# a command instead.
set -eo pipefail
# `docker run --user` can name a user without a home, where rcl could not write its logs.
if [ ! -w "${HOME:-/}" ]; then export HOME=/tmp ROS_LOG_DIR="${ROS_LOG_DIR:-/tmp/ros_log}"; fi
# shellcheck source=/dev/null
source "$ERC_WORKSPACE/install/setup.bash"
if [ $# -gt 0 ] && [[ $1 != *:=* ]]; then
  exec "$@"
fi
# Shared memory delivers nothing between two users; of two values of an argument the last one holds.
exec ros2 launch erc_ros emotion.launch.py fastdds_profile:=fastdds_udp.xml "$@"
