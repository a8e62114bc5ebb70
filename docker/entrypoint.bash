#!/usr/bin/env bash
# Start the nodes with the arguments of docker run. If the first argument is not NAME:=VALUE, run it as a
# command instead.
set -eo pipefail
# `docker run --user` can name a user without a home directory for the logs of rcl.
if [ ! -w "${HOME:-/}" ]; then export HOME=/tmp ROS_LOG_DIR="${ROS_LOG_DIR:-/tmp/ros_log}"; fi
# shellcheck source=/dev/null
source "$ERC_WORKSPACE/install/setup.bash"
if [ $# -gt 0 ] && [[ $1 != *:=* ]]; then
  exec "$@"
fi
# Shared memory does not work between two users. The last value of an argument is used.
exec ros2 launch erc_ros emotion.launch.py fastdds_profile:=fastdds_udp.xml "$@"
