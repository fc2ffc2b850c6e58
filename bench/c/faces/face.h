/* face.h - what a library offers to be measured: the same work, by the same method, for ours and for its peers.
 *
 * A program is this folder and one file that fills in `struct face`.  A function that is missing leaves out the cases
 * that need it.  Everything is used by the main thread of each rank, and ends the process when it fails. */
#ifndef FACE_H
#define FACE_H

#include "result.h"

struct face {
    /* Joins the job.  `argv` belongs to the program; what the library takes from it is gone afterwards. */
    void (*open)(int *argc, char ***argv, uint32_t *rank, uint32_t *size);
    void (*close)(void);
    /* "shm", "openmpi": said with each result; valid until the next call */
    const char *(*transport)(void);
    /* Zeroed memory of the library's own, never freed; NULL: it has none. */
    void *(*memory)(size_t nbytes);

    /* float32, sums; `count` elements of the vector, `block` of each of its blocks */
    void (*all_reduce)(float *x, size_t count); /* in place */
    void (*broadcast)(float *x, size_t count, uint32_t root);
    void (*reduce)(const float *x, float *y, size_t count, uint32_t root);
    void (*all_gather)(const float *x, float *y, size_t block); /* all faces have it and barrier */
    void (*reduce_scatter)(const float *x, float *y, size_t block);
    void (*all_to_all)(const float *x, float *y, size_t block);
    void (*gather)(const float *x, float *y, size_t block, uint32_t root);
    void (*scatter)(const float *x, float *y, size_t block, uint32_t root);
    void (*scan)(const float *x, float *y, size_t count);
    void (*barrier)(void);
    void (*send)(const float *x, size_t count, uint32_t to);
    void (*recv)(float *x, size_t count, uint32_t from);
};

/* The one that is linked. */
extern const struct face face;

/* One rank's part. */
struct work {
    uint32_t rank;
    uint32_t size;
    size_t count; /* of the vector */
    size_t block; /* count / size */
    float *x;     /* what this rank gives; `count` elements, whatever is used of them */
    float *y;     /* what it gets */
};

struct face_case {
    const char *name;
    bool blocks;  /* the vector has a block for each rank */
    bool pair;    /* of ranks 0 and 1 */
    bool in_x;    /* the result is in x */
    double share; /* of a call, that is one operation */
    double (*bus)(uint32_t ranks);
    bool (*there)(void); /* whether the face can do it */
    /* The call.  Those with a root rotate it, so that no rank runs ahead. */
    void (*go)(struct work *w, uint32_t root);
    void (*finish)(struct work *w); /* after the last of a row of calls; NULL: nothing */
    /* How many elements of the result are looked at on this rank, and what they are. */
    size_t (*length)(const struct work *w, uint32_t root);
    float (*expected)(const struct work *w, uint32_t root, size_t i);
};

/* NULL if there is none of this name. */
const struct face_case *face_case_of(const char *name);
/* Names, one after the other; NULL at the end. */
const char *face_case_name(size_t i);

/* Sets up `w`, checks one call with known values, then measures for about `seconds`; the same result on all ranks. */
void face_measure(const struct face_case *c, struct work *w, size_t nbytes, double seconds,
                  struct bench_result *result);

/* "3 ranks: what" to standard error; exit status 1. */
_Noreturn void face_die(const char *what);

#endif
