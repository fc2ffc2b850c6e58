/* job.h - a real job on the loopback interface, its ranks in this process: seed, nodes, communicators, threads. */
#ifndef NX_TEST_JOB_H
#define NX_TEST_JOB_H

#include "check.h"
#include "cluster/seed_io.h"
#include "nexar/nexar.h"
#include "node/node.h"

enum { JOB_RANKS = 16 };

enum { JOB_SHORTER = CHECK_SHORTER };

struct job {
    uint32_t size;
    struct nx_seed *seed;
    struct nx_node *node[JOB_RANKS];
    nexar_comm *comm[JOB_RANKS];
};

/* A seed at 127.0.0.1, any port.  `secret` NULL: with a token. */
struct nx_seed *job_seed(uint32_t size, nx_time timeout, const struct nx_proof_key *secret);
/* How many have joined; how many threads wait for it. */
uint32_t job_seed_proven(struct nx_seed *seed);
uint32_t job_seed_waiting(struct nx_seed *seed);

/* What a node needs to join by this join string.  QUIC carries everything, unless NEXAR_TRANSPORTS is set. */
void job_options(const char *join_string, struct nx_node_options *options);
/* The same, by a secret, at this port. */
void job_options_secret(uint16_t port, const struct nx_proof_key *secret, struct nx_node_options *options);
/* Starts to join.  rank_plus_one 0: any rank. */
struct nx_node *job_join(const char *join_string, uint32_t rank_plus_one, nx_time timeout);
struct nx_node *job_start(const struct nx_node_options *options);

/* Waits, and takes EINTR for an answer to nothing. */
nexar_status job_wait(struct nx_node *node, nexar_comm **comm);
/* It fails with this status, and every one of these words, separated by '|', is in the text.  Frees the node. */
void job_fails(struct nx_node *node, nexar_status status, const char *words);
void job_check_words(const char *text, const char *words);

/* Forms; rank r is comm[r]. */
void job_form(struct job *job, uint32_t size);
/* What has a seed and nodes forms. */
void job_finish_forming(struct job *job);
/* Closes all that is open, in order of rank, then the seed. */
void job_close(struct job *job);

/* Another kind of job: by nexar_local_cluster, whose ranks have no nodes and no seed here.  `config` may be NULL. */
void job_local(struct job *job, uint32_t size, const nexar_config *config);

/* Group set-up: the log goes to memory, so that a test can look at it and nobody else must. */
int job_log_begin(void **state);
void job_log_clear(void);
/* One line has all of these words, separated by '|'. */
bool job_logged(const char *words);

/* cmocka's assertions belong to the main thread: elsewhere what fails ends the program. */
#define must(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, nexar_last_error()); \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#define JOB_ANY_PEER (UINT32_MAX - 1)

/* The last error of this thread is this one, blames this peer (or JOB_ANY_PEER), and every word of the list is in its
 * text. */
#define must_fail(call, wanted, peer, words) job_must_fail(__FILE__, __LINE__, #call, call, wanted, peer, words)
void job_must_fail(const char *file, int line, const char *call, nexar_status status, nexar_status wanted,
                   uint32_t peer, const char *words);

/* Runs fn(comm, arg) for all ranks that are open, each on a thread of its own. */
void job_each(struct job *job, void (*fn)(nexar_comm *comm, void *arg), void *arg);
/* all_reduce, of which every element is checked, and a barrier, on all ranks. */
void job_works(struct job *job);
/* All connections of this rank break. */
void job_cut(nexar_comm *comm);

#endif
