# shellcheck shell=sh
# What is checked in the guest; sourced by init.sh, which says what the networks are.

export NEXAR_SECRET=0123456789abcdef0123456789abcdef NEXAR_MASTER_PORT=29500 NEXAR_TIMEOUT=30 NEXAR_JOIN_TIMEOUT=30
port=$NEXAR_MASTER_PORT
patient=20 # seconds: an emulated processor may be silent for longer than real ones are

# check NAME COMMAND...
check() {
    name=$1
    shift
    if [ -n "$(cat /nexar/wanted)" ] && ! grep -q -x "$name" /nexar/wanted; then
        return
    fi
    echo "BEGIN $name"
    read -r began _ < /proc/uptime
    "$@"
    status=$?
    read -r ended _ < /proc/uptime
    if [ $status = 0 ]; then
        echo "PASS $name $((${ended%.*} - ${began%.*})) s"
    else
        echo "FAIL $name $((${ended%.*} - ${began%.*})) s"
    fi
}

# job NETWORK RANKS HOSTS PROGRAM...: as processes, on "hosts" or on "rdma" (init.sh).
job() {
    network=$1 ranks=$2 hosts=$3
    shift 3
    port=$((port + 1)) # a port of its own, so that nothing of the last job is met
    export NEXAR_WORLD_SIZE=$ranks NEXAR_MASTER_PORT=$port LIMIT=${LIMIT:-60} LAST_ENDS=${LAST_ENDS:-0}
    each=$((ranks / hosts)) started=
    for host in $(seq "$hosts"); do
        last=$((host * each - 1))
        if [ "$network" = hosts ]; then
            NEXAR_MASTER_ADDR=10.77.0.1 ip netns exec "host-$host" \
                unshare -m sh /nexar/ranks.sh $((last - each + 1)) $last "$@" &
        else
            # By itself a rank could take any device, as all are on this machine.
            NEXAR_MASTER_ADDR=10.78.0.1 NEXAR_BIND=10.78.0.$host NEXAR_RDMA_DEVICE=rxe-$host \
                unshare -m sh /nexar/ranks.sh $((last - each + 1)) $last "$@" &
        fi
        started="$started $!"
    done
    result=0
    for process in $started; do
        wait "$process" || result=1
    done
    return $result
}

# verify TRANSPORTS WAYS NETWORK RANKS HOSTS [LONGEST-MESSAGE]
verify() {
    NEXAR_TRANSPORTS=$1 NEXAR_PEER_TIMEOUT=$patient job "$3" "$4" "$5" /nexar/rdma_rank verify "$2" ${6:+"$6"}
}

# die TRANSPORTS NETWORK RANKS HOSTS
die() {
    folder=$(mktemp -d)
    NEXAR_TRANSPORTS=$1 NEXAR_PEER_TIMEOUT=3 LAST_ENDS=137 job "$2" "$3" "$4" /nexar/rdma_rank die "$folder"
}

# lossy NETWORK COMMAND...: each port of the switch loses 1 % of all packets, and a quarter comes before others.
lossy() {
    lossy_network=$1
    shift
    for n in 1 2 3 4; do
        tc -n "$lossy_network" qdisc add dev port-$n root netem delay 1ms reorder 25% loss 1% || return 1
    done
    "$@"
    lossy_result=$?
    for n in 1 2 3 4; do
        tc -n "$lossy_network" -s qdisc show dev port-$n | grep dropped
        tc -n "$lossy_network" qdisc del dev port-$n root
    done > /run/lost
    cat /run/lost
    grep -q 'dropped [1-9]' /run/lost || return 1 # else nothing has come this way
    return $lossy_result
}

# until_there FILE: or until the job that was started last has ended.
until_there() {
    until [ -e "$1" ]; do
        kill -0 $! || return 1
        usleep 10000
    done
}

# mend WAYS WAY NETWORK BREAK MEND: what is done to a port of the switch, and undone when both ends have noticed.
mend() {
    folder=$(mktemp -d)
    NEXAR_TRANSPORTS=$1 NEXAR_PEER_TIMEOUT=$patient job "$3" 2 2 /nexar/rdma_rank mend "$folder" "$2" &
    until_there "$folder/begun-0" || return 1
    ip -n "$3" link set port-2 $4
    until_there "$folder/broken-0" && until_there "$folder/broken-1"
    ip -n "$3" link set port-2 $5
    wait $!
}

# That verbs work at all: what is not so is none of our faults.
verbs() {
    ibv_devinfo -d rxe-1 | head -n 20
    timeout -s KILL 30 ibv_rc_pingpong -d rxe-1 -g 1 -n 100 &
    until grep -q ':4853 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do # its port, 18515, is listened at
        kill -0 $! || return 1
        usleep 10000
    done
    timeout -s KILL 20 ibv_rc_pingpong -d rxe-2 -g 1 -n 100 10.78.0.1 && wait $!
}

M=1048576
check verbs verbs
check tcp_2 verify tcp tcp hosts 2 2
check tcp_4_lossy lossy hosts verify tcp tcp hosts 4 4 $M
check quic_4_lossy lossy hosts verify quic quic hosts 4 4 $M
check auto_4 verify auto shm,tcp hosts 4 2 $M
check auto_4_lossy lossy hosts verify auto shm,tcp hosts 4 2 $M
check auto_killed die auto hosts 4 2
if [ -e /nexar/libnexar_rdma.so ]; then
    check rdma_contract env NEXAR_TRANSPORTS=rdma NEXAR_PEER_TIMEOUT=$patient timeout -s KILL 120 /nexar/rdma_contract
    check rdma_2 verify rdma rdma rdma 2 2
    check rdma_4 verify rdma rdma rdma 4 4 $M
    check rdma_auto_4 verify auto shm,rdma rdma 4 2 $M
    check rdma_4_lossy lossy rdma verify rdma rdma rdma 4 4 4096
    check rdma_port_down mend rdma,quic rdma rdma down up
    check rdma_killed die rdma rdma 4 4
else
    echo "SKIP rdma the project was built without libnexar_rdma.so"
fi
echo DONE
