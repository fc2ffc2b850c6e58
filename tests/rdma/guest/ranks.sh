#!/bin/sh
# ranks.sh FIRST LAST PROGRAM...: starts the ranks of one host and waits for them.  Fails if one does, but the last rank
# of the job is to end with $LAST_ENDS.

mount -t tmpfs shm /dev/shm # each host has its own
first=$1 last=$2
shift 2
processes=
for rank in $(seq "$first" "$last"); do
    NEXAR_RANK=$rank NEXAR_LOCAL_RANK=$((rank - first)) NEXAR_LOCAL_SIZE=$((last - first + 1)) \
        timeout -s KILL "$LIMIT" "$@" &
    processes="$processes $!"
done
result=0 rank=$first
for process in $processes; do
    wait "$process"
    status=$?
    wanted=0
    [ $((rank + 1)) = "$NEXAR_WORLD_SIZE" ] && wanted=$LAST_ENDS
    if [ "$status" != "$wanted" ]; then
        echo "rank $rank ended with $status, not $wanted"
        result=1
    fi
    rank=$((rank + 1))
done
exit $result
