/* cluster/seed.h - the seed's side of forming a job: who may join, which rank he gets, when all are there.
 *
 * A pure machine: messages and time in, actions out.  Randomness, certificates and proofs come through `struct
 * nx_seed_ops`, so that a test can run it without either. */
#ifndef NX_CLUSTER_SEED_H
#define NX_CLUSTER_SEED_H

#include "base/clock.h"
#include "base/list.h"
#include "base/status.h"
#include "wire/message.h"

#include <stdbool.h>

#define NX_ALPN_JOIN "libnexar-join/1"
#define NX_JOIN_VERSION 1
#define NX_ID_SIZE 16
#define NX_ADDRESSES_MAX 8 /* of a rank */
#define NX_ADDRESS_SIZE 64 /* "[....]:65535" */
#define NX_CERTIFICATE_MAX 2048
#define NX_RANKS_MAX 4096 /* the list of them all is one message */

/* Codes of Abort; the first two are all that a stranger learns. */
enum nx_abort_code {
    NX_ABORT_VERSION = 1,
    NX_ABORT_AUTH = 2,
    NX_ABORT_RANK = 3,     /* taken, or out of range */
    NX_ABORT_FULL = 4,     /* all ranks are there */
    NX_ABORT_MISMATCH = 5, /* another size, or settings that must be equal */
    NX_ABORT_TIMEOUT = 6,  /* of formation */
    NX_ABORT_PEER = 7,     /* a rank was lost or gave up while the job formed */
    NX_ABORT_CLOSED = 8,   /* the seed was closed */
    NX_ABORT_PROTOCOL = 9,
};

enum nx_seed_stage {
    NX_SEED_SILENT, /* connected, has said nothing */
    NX_SEED_CHALLENGED,
    NX_SEED_PROVEN,    /* has its certificate; waits for the others */
    NX_SEED_WELCOMED,  /* has its rank */
    NX_SEED_LISTENING, /* can be dialled */
    NX_SEED_READY,     /* connected with all others */
};

struct nx_seed_client {
    struct nx_list link;
    void *io; /* whoever carries its messages */
    enum nx_seed_stage stage;
    nx_time deadline; /* to prove itself */
    uint64_t number;  /* order of arrival */
    char from[NX_ADDRESS_SIZE];
    uint32_t rank;        /* NEXAR_NO_RANK until it has one */
    uint32_t wanted_rank; /* or NEXAR_NO_RANK */
    uint32_t size;        /* that it expects the job to have; 0: any */
    uint32_t local_rank, local_size;
    uint8_t group[NX_ID_SIZE];
    uint64_t group_number; /* when the first of its group came */
    uint8_t node[NX_ID_SIZE];
    uint8_t certificate[NX_CERTIFICATE_MAX];
    size_t certificate_len;
    char address[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE];
    uint32_t addresses;
    uint32_t formation; /* nx_msg_join_hello.formation */
    char lobby[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE];
    uint32_t lobbies;
};

struct nx_seed_ops {
    /* Fills in the challenge to a hello.  `archive` is the hello's.  The fields of *out are the ops' until the next
     * call. */
    nexar_status (*challenge)(void *arg, struct nx_seed_client *client, const struct nx_msg_join_hello *hello,
                              const uint8_t *archive, size_t n, struct nx_msg_join_challenge *out);
    /* Checks the proof and issues the certificate and the node id into the client.  NEXAR_EAUTH. */
    nexar_status (*admit)(void *arg, struct nx_seed_client *client, const struct nx_msg_join_proof *proof);
    void (*send)(void *arg, struct nx_seed_client *client, const struct nx_message *message);
    /* No more messages of it will be taken.  `told`: something was sent that should arrive before it goes. */
    void (*close)(void *arg, struct nx_seed_client *client, bool told);
    /* All have proven themselves; nobody else is let in from now on.  Before anybody is told. */
    void (*full)(void *arg);
    /* The client's record is about to go. */
    void (*forget)(void *arg, struct nx_seed_client *client);
    /* Of a job that grows: who is new waits here for its next formation, or is told to go elsewhere; `out` lasts until
     * the next call. */
    bool (*elsewhere)(void *arg, struct nx_pairs *out);
    /* Of a job that grows, before they go: all who have formed it are in by_rank. */
    void (*formed)(void *arg);
};

enum nx_seed_state {
    NX_SEED_GATHERING,
    NX_SEED_MESHING, /* ranks are given */
    NX_SEED_FORMED,  /* if the job grows: until nx_seed_expect */
    NX_SEED_FAILED,
};

/* What became of some that did not join. */
struct nx_seed_note {
    char from[NX_ADDRESS_SIZE]; /* the last of them */
    char what[128];
    uint32_t count;
};

enum { NX_SEED_NOTES = 8 };

struct nx_seed_machine {
    /* const after init */
    uint32_t size;   /* later formations have their own */
    nx_time timeout; /* of formation, from the first that joins */
    const struct nx_seed_ops *ops;
    void *arg;
    uint8_t cluster[NX_ID_SIZE];
    struct nx_bytes ca;        /* borrowed */
    struct nx_bytes authority; /* borrowed; what members of a job that grows get; else nothing */
    /* the machine's */
    uint32_t formation; /* the number of this one, or the next: 1 is the first */
    uint32_t kept;      /* of those who form it, so many are members that come back */
    enum nx_seed_state state;
    nx_time deadline;
    struct nx_list clients;
    struct nx_seed_client **by_rank; /* owned; NULL until ranks are given */
    uint32_t strangers;              /* clients that have not proven themselves */
    uint64_t number;
    uint32_t proven, listening, ready;
    struct nx_seed_note note[NX_SEED_NOTES]; /* a ring */
    uint32_t notes;
    nexar_error error; /* of NX_SEED_FAILED */
};

void nx_seed_init(struct nx_seed_machine *m, uint32_t size, nx_time timeout, const uint8_t cluster[NX_ID_SIZE],
                  struct nx_bytes ca, const struct nx_seed_ops *ops, void *arg);
/* Forgets all clients. */
void nx_seed_fini(struct nx_seed_machine *m);

/* Somebody has connected.  Too many that have not proven themselves: the oldest that has said nothing goes.  NULL:
 * there is none of them, or no memory. */
struct nx_seed_client *nx_seed_connected(struct nx_seed_machine *m, void *io, const char *from, nx_time now);
void nx_seed_said(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_message *message,
                  const uint8_t *archive, size_t n, nx_time now);
/* What it said is no message. */
void nx_seed_babbled(struct nx_seed_machine *m, struct nx_seed_client *client, const char *why);
/* Its connection has ended. */
void nx_seed_gone(struct nx_seed_machine *m, struct nx_seed_client *client, const char *why);

/* Time passes.  Returns when to call again. */
nx_time nx_seed_tick(struct nx_seed_machine *m, nx_time now);

/* The seed is closed before the job has formed. */
void nx_seed_cancel(struct nx_seed_machine *m);

/* ---- a job that grows: seed_grow.c ---- */

static inline bool nx_seed_grows(const struct nx_seed_machine *m)
{
    return m->authority.len != 0;
}

/* A seed whose job has formed elsewhere, as if here. */
void nx_seed_take_over(struct nx_seed_machine *m);
/* Those who are new, and wait for a formation. */
uint32_t nx_seed_waiting(const struct nx_seed_machine *m);
/* The job forms anew, of `kept` members, who come back with the ranks 0 to kept - 1, and as many who are new as it
 * takes for `size`.  If these are not enough any more, or one of all is lost, it fails: all but those who are new are
 * told, and these wait on. */
void nx_seed_expect(struct nx_seed_machine *m, uint32_t size, uint32_t kept, nx_time now);
/* The formation that members have come back for, or are to, will not be. */
void nx_seed_pass(struct nx_seed_machine *m, const char *why);
/* Who is new may have to go elsewhere now. */
void nx_seed_moved(struct nx_seed_machine *m);

/* ---- between the files of the machine ---- */

/* Ends formation: everybody is told why. */
void nx_seed_fail(struct nx_seed_machine *m, nexar_status status, enum nx_abort_code code, uint32_t rank,
                  const char *format, ...) NX_PRINTF(5, 6);
/* False: it is out of place. */
bool nx_seed_on_listen(struct nx_seed_machine *m, struct nx_seed_client *client,
                       const struct nx_msg_join_listen *listen);
void nx_seed_on_ready(struct nx_seed_machine *m, struct nx_seed_client *client);
/* As nx_seed_pass, for a formation that has failed. */
void nx_seed_fail_again(struct nx_seed_machine *m, enum nx_abort_code code, uint32_t rank, const char *text);
/* Whether all have proven themselves that this formation takes. */
bool nx_seed_all_proven(const struct nx_seed_machine *m);
/* One who was to be in a later formation is gone. */
void nx_seed_check_short(struct nx_seed_machine *m);
/* NULL, or why a client that has proven itself has no place in a later formation, or in none that it means. */
const char *nx_seed_no_room(const struct nx_seed_machine *m, const struct nx_seed_client *client,
                            enum nx_abort_code *code, char *text, size_t cap);
/* True: it was told to go elsewhere. */
bool nx_seed_send_on(struct nx_seed_machine *m, struct nx_seed_client *client);
void nx_seed_start_meshing(struct nx_seed_machine *m);
void nx_seed_abort_client(struct nx_seed_machine *m, struct nx_seed_client *client, enum nx_abort_code code,
                          uint32_t rank, const char *reason);
/* It has a place no more: it is as if it had not proven itself. */
void nx_seed_leave_place(struct nx_seed_machine *m, struct nx_seed_client *client);
void nx_seed_forget(struct nx_seed_machine *m, struct nx_seed_client *client);

/* The one that has proven itself and wants, or has, this rank. */
struct nx_seed_client *nx_seed_holder(const struct nx_seed_machine *m, uint32_t rank);
/* Fills in by_rank and everybody's rank: wishes first, then the free ranks in order, to groups as they came.
 * NEXAR_ENOMEM. */
nexar_status nx_seed_give_ranks(struct nx_seed_machine *m);

void nx_seed_note(struct nx_seed_machine *m, const struct nx_seed_client *client, const char *what);
/* How far the job is: who is missing, and what was heard of others. */
void nx_seed_progress(const struct nx_seed_machine *m, char *text, size_t cap);

#endif
