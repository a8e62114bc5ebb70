#!/usr/bin/env bash
# Starts the nodes with the arguments that docker run was given; a first word that is no NAME:=VALUE is
# a command instead.
set -eo pipefail
# shellcheck source=/dev/null
source "$ERC_WORKSPACE/install/setup.bash"
if [ $# -gt 0 ] && [[ $1 != *:=* ]]; then
  exec "$@"
fi
exec ros2 launch erc_ros emotion.launch.py "$@"
