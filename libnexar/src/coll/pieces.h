/* coll/pieces.h - the arrays of an all_reduce_bucketed as if they lay one behind the other, by type.
 *
 * Constant once made, and copied from what the caller gave; the arrays themselves are his. */
#ifndef NX_COLL_PIECES_H
#define NX_COLL_PIECES_H

#include "nexar/coll.h"

struct nx_piece {
    unsigned char *base;
    size_t nbytes;
    size_t off; /* of its first byte among all */
    nexar_dtype dtype;
};

struct nx_pieces {
    size_t count;
    struct nx_piece piece[];
};

/* Those of the `n` vectors that are not empty, in order of type.  All is checked, `call` begins the sentence: NEXAR_OK,
 * NEXAR_EINVAL, NEXAR_ENOMEM.  `bytes` gets those of each type, NX_TYPES of them, `total` their sum. */
nexar_status nx_pieces_make(const char *call, const nexar_vector *vectors, size_t n, nexar_reduce_op op, size_t *bytes,
                            size_t *total, struct nx_pieces **out);
/* NULL is legal. */
void nx_pieces_free(struct nx_pieces *pieces);

/* `nbytes` from the byte `off` on, into `to` or out of `from`. */
void nx_pieces_gather(const struct nx_pieces *pieces, size_t off, void *to, size_t nbytes);
void nx_pieces_scatter(const struct nx_pieces *pieces, size_t off, const void *from, size_t nbytes);

/* They are complete: what is left to do with them. */
void nx_pieces_finish(const struct nx_pieces *pieces, nexar_reduce_op op, uint32_t ranks);

#endif
