/* bulk/shm_group.h - inside the shared-memory module: this rank among those of its host.  For the files bulk/shm*.c.
 *
 * Engine, but for what says otherwise. */
#ifndef NX_BULK_SHM_GROUP_H
#define NX_BULK_SHM_GROUP_H

#include "base/engine.h"
#include "bulk/shm_seg.h"

enum nx_shm_state {
    NX_SHM_FORMING,
    NX_SHM_SHARED, /* all of the host's ranks have mapped it */
    NX_SHM_NONE,   /* none of them uses it */
};

struct nx_shm_half;

/* A socket to another member: the maker has one to each, the others one to the maker.  It stays open as a witness. */
struct nx_shm_wire {
    struct nx_shm *shm;
    struct nx_list link; /* of those that have not said who they are */
    uint32_t index;      /* UINT32_MAX: not known yet */
    int fd;              /* -1: none; a socket, and after its end one that tells of the process's */
    int32_t pid;         /* 0: not known here */
    nexar_watch *watch;
};

struct nx_shm {
    /* const after the first link is attached */
    const nexar_host *host;
    nexar_node *node;
    uint32_t size, self;
    uint32_t world[NX_SHM_RANKS]; /* ranks by index */
    /* engine while forming, then const */
    enum nx_shm_state state;
    char why[128]; /* it is not shared */
    struct nx_shm_seg seg;
    int bell[NX_SHM_RANKS]; /* eventfds by index, owned; -1: not there */
    /* engine */
    struct nx_shm_half *half[NX_SHM_RANKS]; /* attached links by index */
    uint32_t attached, hellos, mapped;
    uint8_t token[16];
    int listener; /* -1: none */
    nexar_watch *listening, *ringing, *patience;
    struct nx_shm_wire wire[NX_SHM_RANKS];
    struct nx_list strangers; /* struct nx_shm_wire */
    uint32_t stranger_count;
    uint32_t mourned; /* how many of the dead were told of */
    nx_time mourned_at;
    struct nx_poller poller;
    bool polled; /* it is in the engine's list */
};

/* ---- shm_group.c ---- */

/* A link to a member is there; the maker begins when all are. */
void nx_shm_group_joined(struct nx_shm *shm);
/* A link to a member has ended. */
void nx_shm_group_left(struct nx_shm *shm);
void nx_shm_group_told(struct nx_shm *shm, const void *bytes, size_t n);
/* Not shared, for this reason; the others are told. */
void nx_shm_group_fail(struct nx_shm *shm, const char *why);
void nx_shm_group_close(struct nx_shm *shm);

/* ---- shm.c ---- */

/* The group has its verdict: links become ready, or useless. */
void nx_shm_settled(struct nx_shm *shm);
/* The invitation, to all members.  NEXAR_EPEER, NEXAR_ENOMEM. */
nexar_status nx_shm_tell_all(struct nx_shm *shm, const void *bytes, size_t n);
void nx_shm_died(struct nx_shm *shm, uint32_t index);

#endif
