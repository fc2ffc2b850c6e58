#!/bin/busybox sh
# The guest's first process: modules, networks, checks, and off.
#
# Two networks, each a switch in a namespace of its own:
#   10.77.0.N  eth0 of the namespace host-N, which has no RDMA device, though the module is there;
#   10.78.0.N  rdma-N, which is the device rxe-N.  These are all in the first namespace, since soft-RoCE knows no other;
#              what goes from one to the other passes the switch nevertheless.
# rxe-0 is on lo, for ranks of one process.

/bin/busybox --install -s /bin
export PATH=/bin:/tools LD_LIBRARY_PATH=/nexar:/lib HOME=/
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
ip() { # busybox's shell would take its own
    /tools/ip "$@"
}
tc() {
    /tools/tc "$@"
}

stty -F /dev/ttyS1 raw
exec < /dev/null > /dev/ttyS1 2>&1

for module in /modules/*.ko; do
    insmod "$module" || echo "$module cannot be loaded"
done
rdma system set netns exclusive # the hosts of 10.77.0.0 have no such device; this must come before they do
ip link set lo up
for switch in hosts rdma; do
    ip netns add $switch
    ip -n $switch link add switch type bridge mcast_snooping 0
    ip -n $switch link set switch mtu 4200 up
done
for n in 1 2 3 4; do
    ip netns add host-$n
    ip -n hosts link add port-$n type veth peer name eth0 netns host-$n
    ip -n hosts link set port-$n up master switch
    ip -n host-$n link set lo up
    ip -n host-$n addr add 10.77.0.$n/24 dev eth0
    ip -n host-$n link set eth0 up
    ip link add rdma-$n mtu 4200 address 02:00:00:00:00:0$n type veth peer name port-$n netns rdma
    ip -n rdma link set port-$n mtu 4200 up master switch
    # All answer for their own address alone, and take what comes from another one of this machine.
    echo 1 > /proc/sys/net/ipv4/conf/rdma-$n/arp_ignore
    echo 2 > /proc/sys/net/ipv4/conf/rdma-$n/arp_announce
    echo 1 > /proc/sys/net/ipv4/conf/rdma-$n/accept_local
    echo 0 > /proc/sys/net/ipv4/conf/rdma-$n/rp_filter
    ip addr add 10.78.0.$n/24 dev rdma-$n
    ip link set rdma-$n up
    rdma link add rxe-$n type rxe netdev rdma-$n
done
# One processor takes in the packets of a device.  Whichever sent one would do so, else, and two would overtake each
# other; soft-RoCE then asks again for what was on its way, and answers such a question when the memory has long been
# given back, with an error that ends the link.
in_order='for n in 1 2 3 4; do echo 1 > "/sys/class/net/$0-$n/queues/rx-0/rps_cpus"; done'
sh -c "$in_order" rdma
ip netns exec rdma sh -c "$in_order" port
rdma link add rxe-0 type rxe netdev lo
for n in 1 2 3 4; do # known for ever: when the network loses the question who has an address, verbs do not ask again
    for other in 1 2 3 4; do
        [ $n = $other ] || ip neigh replace 10.78.0.$other lladdr 02:00:00:00:00:0$other nud permanent dev rdma-$n
    done
done
read -r up _ < /proc/uptime
echo "UP after $up s"
. /nexar/checks.sh
sync
poweroff -f
