/* fake_verbs.h - a stand-in for libibverbs: devices, queue pairs and a wire in the memory of one process.
 *
 * libfake_verbs.so exports the functions of libibverbs that the RDMA module uses, and `fake_verbs`, by which tests say
 * what its devices look like and what goes wrong.  One thread is the wire: it takes the queue pairs in an order made up
 * by chance, and checks keys, ranges, states and limits as a card does.  What a card would leave undefined ends the
 * program.  The settings are those of the next node that is opened; NULL there means the default. */
#ifndef NX_TEST_FAKE_VERBS_H
#define NX_TEST_FAKE_VERBS_H

#include <stddef.h>
#include <stdint.h>

enum { FAKE_DEVICES = 2, FAKE_GIDS = 4 };

struct fake_gid {
    const char *address; /* IPv6, or "::ffff:" and IPv4; NULL: there is none */
    int type;            /* of enum ibv_gid_type: 0 InfiniBand and RoCE v1, 2 RoCE v2 */
};

/* One port each, number 1. */
struct fake_device {
    const char *name; /* NULL: there is no such device */
    int infiniband;   /* not 0: LIDs; else Ethernet */
    int down;
    int mtu;          /* enum ibv_mtu */
    int reads;        /* max_qp_rd_atom */
    uint32_t longest; /* max_msg_sz */
    uint16_t lid;
    struct fake_gid gid[FAKE_GIDS];
};

struct fake_counts {
    uint64_t rnr;              /* messages that met no buffer, per try */
    uint64_t reads;            /* bytes */
    uint32_t mtu;              /* of the last queue pair that was connected: enum ibv_mtu */
    uint32_t port, index, lid; /* likewise: its port and GID, and the LID that it was given */
    uint32_t live;             /* objects of all kinds, registrations among them */
    uint32_t registrations;
};

struct fake_verbs {
    void (*reset)(void); /* to the defaults; there is no device open */
    void (*device)(int number, const struct fake_device *device);
    struct fake_counts (*counts)(void);
    /* Registrations of at most so many bytes fail if they ask for this access; 0: none. */
    void (*refuse)(size_t nbytes, int access);
    /* All packets are lost from now on, or no more. */
    void (*cut)(int on);
    /* Called on each message that is delivered, by the wire: it may change it, and its length. */
    void (*tamper)(uint32_t (*fn)(void *arg, uint8_t *bytes, uint32_t n), void *arg);
    /* An event of the device or, if that is of its kind, of each of its queue pairs. */
    void (*event)(int number, int type);
    /* Nothing is delivered while it is on. */
    void (*pause)(int on);
};

#endif
