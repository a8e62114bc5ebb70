#!/usr/bin/env bash
# In a sourced workspace: start the launch file in both modes, and in two namespaces, publish a text, and
# check that an estimate of it is published. Needs ros2 launch, but no camera and no microphone.
set -eo pipefail

check() { # namespace: publish a text and wait for its estimate
  local estimate
  estimate=$(mktemp)
  timeout 90 ros2 topic echo --once "$1/emotions" > "$estimate" &
  local listener=$!
  for _ in $(seq 30); do
    ros2 topic pub --once "$1/speech" std_msgs/msg/String "data: I cannot believe it" > /dev/null
    if ! kill -0 "$listener" 2> /dev/null; then break; fi
  done
  wait "$listener"
  grep -q "I cannot believe it" "$estimate"
}

nodes=()
start() {
  setsid ros2 launch erc_ros emotion.launch.py deployment_context:=research "$@" &
  nodes+=($!)
}
stop() {
  for group in "${nodes[@]}"; do kill -INT -- "-$group" 2> /dev/null || true; done
  wait "${nodes[@]}" 2> /dev/null || true
  nodes=()
}
trap stop EXIT

for mode in single split; do
  echo "== mode:=$mode"
  start "mode:=$mode" namespace:=one
  check /one
  stop
  done

echo "== two namespaces"
start namespace:=one
start namespace:=two
check /one
check /two
stop

echo "== erc as an executable"
ros2 run erc_ros erc --help > /dev/null
