/* comm/inquiry.h - an operation that has run out of time asks other ranks what they are doing, before it says whose
 * fault it is.  They have a second; who does not answer in time is named, too. */
#ifndef NX_COMM_INQUIRY_H
#define NX_COMM_INQUIRY_H

#include "base/op.h"
#include "comm/comm.h"

/* The second is so many looks without a new answer: a process that gets no core in between has not waited. */
#define NX_INQUIRY_LOOK (50 * NX_MS)
enum { NX_INQUIRY_LOOKS = 20 };

/* How a collective stands on the rank that answers.  Values of the protocol. */
enum nx_tell_state {
    NX_TELL_NOT_CALLED,
    NX_TELL_RUNS,
    NX_TELL_ENDED,
    NX_TELL_STATES,
};

struct nx_answer {
    uint32_t rank;
    bool came, gone;
    uint8_t state;
    char doing[136]; /* "is in recv from rank 2, tag 5, for 3 s" */
};

struct nx_inquiry {
    struct nx_list link;   /* comm->inquiries; who takes it from there ends it */
    _Atomic uint32_t refs; /* of who asks, and of the timer */
    uint64_t id;
    nexar_comm *comm;    /* a reference */
    struct nexar_op *op; /* a reference */
    void (*word)(struct nx_inquiry *inquiry, nexar_error *error);
    struct nx_timer timer;
    uint32_t looks; /* so often the timer has fired since the last answer */
    uint32_t count, came;
    struct nx_answer answer[];
};

/* Any thread, no lock held.  Asks the rank `peer` of the communicator, or (NEXAR_ANY) all, about collective `sequence`
 * (0: none); then `word` says what to condemn the op with, unless it is done by then.  False if nothing is asked, since
 * it was before, or nobody can be. */
bool nx_inquiry_start(nexar_comm *comm, struct nexar_op *op, uint32_t peer, uint64_t sequence,
                      void (*word)(struct nx_inquiry *inquiry, nexar_error *error));
/* For a message that was not received, or not taken: `peer` is its other end. */
bool nx_inquiry_message(nexar_comm *comm, struct nexar_op *op, uint32_t peer);

/* Engine.  `comm` may be NULL: it is not known here. */
void nx_inquiry_asked(struct nx_net *net, nexar_comm *comm, uint32_t peer, const struct nx_msg_ask *ask);
void nx_inquiry_told(nexar_comm *comm, uint32_t peer, const struct nx_msg_tell *tell);

/* "is in no call", "does not answer" */
const char *nx_answer_text(const struct nx_answer *answer);

/* No answers are waited for any more. */
void nx_inquiries_stop(nexar_comm *comm);

/* ---- seen.c ---- */

/* "all_reduce #7", "recv from rank 2, tag 5" */
void nx_record_title(const struct nx_record *record, char *text, size_t cap);
/* What this rank is doing, as it is told to others. */
void nx_seen_text(struct nx_net *net, char *text, size_t cap);

#endif
