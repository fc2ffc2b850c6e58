/* cluster/member_io.h - the membership of a job that has formed: the machine of member.h on the connections of this
 * node.  Messages, losses and time go in; who is out of the job, and what was agreed, comes out.
 *
 * Engine, but for what says otherwise.  Ranks are those of the formation ("world ranks"); they never change. */
#ifndef NX_CLUSTER_MEMBER_IO_H
#define NX_CLUSTER_MEMBER_IO_H

#include "cluster/member.h"
#include "cluster/record.h"
#include "net/net.h"

struct nx_members_owner {
    /* The members have agreed that this rank is none any more. */
    void (*out)(void *owner, uint32_t world, const char *why);
    /* Whether the kernel of this host says that its process has ended. */
    bool (*dead)(void *owner, uint32_t world);
    /* Where the record of a rank of this host is kept (nx_record_bytes of the job's size), this one's or that of a dead
     * one; NULL: nowhere. */
    struct nx_record *(*record)(void *owner, uint32_t world);
};

/* Somebody waits for a decision; embedded in an op. */
struct nx_members_wait {
    struct nx_list link;
    /* Something was decided, or cannot be: look again.  It may end and leave the list. */
    void (*look)(struct nx_members_wait *wait);
};

enum nx_fate {
    NX_FATE_HERE,
    NX_FATE_LEFT, /* in good order; the machine is told by the next tick */
    NX_FATE_GONE, /* the machine is told that its connection has ended */
    NX_FATE_DEAD, /* the machine is told that it is dead */
};

/* The last ids that a rank has told. */
enum { NX_SHRUNK_KEPT = 16 };

struct nx_shrunk {
    uint64_t id[NX_SHRUNK_KEPT];
    uint32_t count; /* ever; a ring */
};

struct nx_members {
    /* const after init */
    struct nx_net *net;
    const struct nx_members_owner *owner;
    void *owner_arg;
    struct nx_uid *uid;     /* owned; by world rank */
    struct nx_entry *first; /* held; the formation: its ranks are the world ranks */
    /* engine */
    struct nx_member machine;
    struct nx_timer timer;
    bool *out;           /* owned; by world rank: told to the owner */
    uint32_t *blamed_by; /* owned; by world rank: who has said last that it has lost it, + 1; 0: nobody */
    uint8_t *fate;       /* owned; by world rank: what the machine knows of its end, enum nx_fate */
    bool stopped;
    uint32_t liar;   /* world rank + 1 of one whose connection is to be closed; 0: none */
    const char *lie; /* what it told */
    bool changed;    /* an entry was put in force, or the open agree() was decided: somebody is to be told */
    bool telling;
    bool is_short; /* too few are in reach */
    struct nx_list waits;
    size_t record_bytes;
    bool recorded;                /* there is a record of this rank's own votes */
    uint32_t record_number;       /* of that */
    struct nx_acceptor witnessed; /* the record that was read last, of a dead rank */
    struct nx_uid witnessed_of;
    uint32_t witnessed_number;
    struct nx_entry *agreed; /* the last that decided an agree() which nobody has taken; held */
    bool agreeing;           /* an op waits for it */
    struct nx_list shrunk;   /* struct shrunk; which communicators were, in which epoch */
    struct nx_shrunk *ready; /* owned; by world rank: communicators that it has said are there */
};

/* The job has formed of the processes `uid`, which is taken over, in the order of their ranks.  NEXAR_ENOMEM. */
nexar_status nx_members_open(struct nx_net *net, struct nx_uid *uid, const struct nx_member_config *config,
                             const struct nx_members_owner *owner, void *owner_arg, struct nx_members **out);
/* This rank leaves: nothing is said or heard any more.  NULL is legal, here and below. */
void nx_members_stop(struct nx_members *members);
/* That, and nobody votes for it when it is dead: it has become a member of another job, which goes on for this one. */
void nx_members_retire(struct nx_members *members);
/* After the last op. */
void nx_members_close(struct nx_members *members);

/* A rank says something about the membership.  False: no member says that. */
bool nx_members_said(struct nx_members *members, uint32_t world, const struct nx_message *message);
/* A rank is lost, or has left in good order. */
void nx_members_gone(struct nx_members *members, uint32_t world, bool left);
/* A rank has said that it has lost `world`: one of the two will be out. */
void nx_members_blamed(struct nx_members *members, uint32_t by, uint32_t world);
/* Whether it is not decided yet if `world` is out: this rank has lost it, or another one has. */
bool nx_members_doubted(const struct nx_members *members, uint32_t world);

/* Whether this rank was excluded. */
bool nx_members_excluded(const struct nx_members *members);
const struct nx_entry *nx_members_entry(const struct nx_members *members);
bool nx_members_has(const struct nx_members *members, uint32_t world);

void nx_members_wait(struct nx_members *members, struct nx_members_wait *wait);
/* The list that a wait is in; NULL: it was never begun. */
void nx_members_unwait(struct nx_members_wait *wait);

/* Calls agree(), or goes on with the one that is open. */
void nx_members_agree(struct nx_members *members, uint64_t flag);
/* How often communicators that go back to `root` were shrunk in this epoch. */
uint64_t nx_members_times(const struct nx_members *members, uint64_t root);
/* Once more.  False: no memory. */
bool nx_members_count(struct nx_members *members, uint64_t root);

/* A rank says that a shrunk communicator is there on it; it may be one that nobody here wants. */
void nx_members_shrunk(struct nx_members *members, uint32_t world, uint64_t id);
/* Whether it has said so. */
bool nx_members_ready(const struct nx_members *members, uint32_t world, uint64_t id);
/* Says so to a rank. */
void nx_members_tell_shrunk(struct nx_members *members, uint32_t world, uint64_t id);
/* The entry that decided the last agree(), held, once; NULL: none. */
struct nx_entry *nx_members_take(struct nx_members *members);

#endif
