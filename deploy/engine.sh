# Sourced by what needs a container engine: a Docker daemon that answers, or one that is started (as root) and stopped again.
# Keeps: after stop_engine nothing of it is left but its data in $DOCKERD_DATA, where that is set.
# shellcheck shell=bash

# The caller has `work`, a folder of its own, and `say` and `die`.
engine_pid=

# start_engine: returns when Docker answers, also without asking for anything when it did before.
start_engine() {
  docker version >/dev/null 2>&1 && return
  [[ $EUID -eq 0 ]] || die "no Docker daemon answers, and starting one needs root"
  command -v dockerd >/dev/null || die "no Docker daemon answers, and there is none to start: apt-get install docker.io"
  export DOCKER_HOST=unix://$work/docker.sock
  local filter
  # Containers of one network reach each other without packet filter rules as well, where the kernel has none.
  for filter in true false; do
    say "starting dockerd --iptables=$filter"
    # In a session of its own: an interrupt is for the caller, which needs the daemon to clean up.
    setsid dockerd --host "$DOCKER_HOST" --data-root "${DOCKERD_DATA:-$work/docker}" --exec-root "$work/exec" \
      --pidfile "$work/dockerd.pid" --iptables="$filter" --ip6tables=false >"$work/dockerd.log" 2>&1 &
    engine_pid=$!
    for _ in {1..60}; do
      if docker version >/dev/null 2>&1; then return; fi
      if ! kill -0 "$engine_pid" 2>/dev/null; then break; fi
      sleep 0.5
    done
    kill "$engine_pid" 2>/dev/null || true
    wait "$engine_pid" 2>/dev/null || true
    engine_pid=
  done
  tail -n 20 "$work/dockerd.log" >&2
  die "dockerd did not start"
}

# stop_engine: ends what start_engine started, and nothing else.
stop_engine() {
  [[ -n $engine_pid ]] || return 0
  kill "$engine_pid" 2>/dev/null || true
  wait "$engine_pid" 2>/dev/null || true
  # A busy dockerd leaves the network namespace of its bridge mounted.
  umount "$work"/exec/netns/* 2>/dev/null || true
}
