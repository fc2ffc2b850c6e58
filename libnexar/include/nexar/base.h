/** nexar/base.h - what every other header needs: linkage, versions, status codes, data types, reduction operators.
 *
 *  Conventions of all nexar headers:
 *  - 0 (NEXAR_OK) is success, every failure is negative.  If a call that could have started something fails, nothing
 *  was
 *    started and nothing will be called.
 *  - Out-parameters come last and are set to NULL or zero on failure.
 *  - Structs that the caller fills begin with `uint32_t size`, set to sizeof the struct; zero in any other field means
 *    "the default"; new fields are added at the end.
 *  - Handles are opaque.  Closing NULL is legal; closing a parent before its children is legal: the children then
 *  answer
 *    NEXAR_ECLOSED until they are closed themselves.
 *  - Lengths are bytes (`nbytes`) or elements (`count`), as the name says; times are nanoseconds unless the name says
 *    otherwise. */
#ifndef NEXAR_BASE_H
#define NEXAR_BASE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NEXAR_API __attribute__((visibility("default")))
#else
#define NEXAR_API
#endif

/** Grows when a struct or a function changes in a way that an older caller would notice. */
#define NEXAR_ABI_VERSION 1

/** Any source rank, or any tag, in a receive or a probe. */
#define NEXAR_ANY UINT32_MAX

/** No rank: what nexar_error.peer holds when no peer is to blame. */
#define NEXAR_NO_RANK UINT32_MAX

#ifdef __cplusplus
extern "C" {
#endif

/** name, value, what it means in words */
#define NEXAR_STATUS_MAP(XX)                                            \
    XX(OK, 0, "success")                                                \
    XX(EINVAL, -1, "invalid argument")                                  \
    XX(ENOMEM, -2, "out of memory, or a configured limit was reached")  \
    XX(EAGAIN, -3, "not finished yet")                                  \
    XX(EINTR, -4, "interrupted by a signal")                            \
    XX(ETIMEDOUT, -5, "the deadline passed")                            \
    XX(ECANCELLED, -6, "cancelled")                                     \
    XX(ECLOSED, -7, "closed")                                           \
    XX(EPEER, -8, "a peer was lost")                                    \
    XX(EMISMATCH, -9, "ranks called different things")                  \
    XX(EMSGSIZE, -10, "the message is larger than the buffer")          \
    XX(EAUTH, -11, "authentication failed")                             \
    XX(EPROTO, -12, "the peer broke the protocol")                      \
    XX(ECONFIG, -13, "the configuration or the environment is wrong")   \
    XX(ENOTSUP, -14, "not supported")                                   \
    XX(EDEADLK, -15, "a blocking call on a thread that must not block") \
    XX(EFORK, -16, "used in a child after fork")                        \
    XX(ESYSTEM, -17, "the operating system refused")                    \
    XX(EREMOTE, -18, "the function that was called failed")             \
    XX(EQUORUM, -19, "too few members are in reach to go on")

typedef enum nexar_status {
#define XX(name, value, text) NEXAR_##name = value,
    NEXAR_STATUS_MAP(XX)
#undef XX
} nexar_status;

/** Types of elements.  The first ten values are those of the reference protocol. */
typedef enum nexar_dtype {
    NEXAR_FLOAT32 = 0,
    NEXAR_FLOAT64 = 1,
    NEXAR_FLOAT16 = 2,
    NEXAR_BFLOAT16 = 3,
    NEXAR_INT8 = 4,
    NEXAR_INT32 = 5,
    NEXAR_INT64 = 6,
    NEXAR_UINT8 = 7,
    NEXAR_UINT32 = 8,
    NEXAR_UINT64 = 9,
    NEXAR_INT16 = 10,
    NEXAR_UINT16 = 11,
    NEXAR_BOOL = 12,
} nexar_dtype;

typedef enum nexar_reduce_op {
    NEXAR_SUM = 0,
    NEXAR_PROD = 1,
    NEXAR_MIN = 2,
    NEXAR_MAX = 3,
    NEXAR_AVG = 4,
    NEXAR_BAND = 5,
    NEXAR_BOR = 6,
    NEXAR_BXOR = 7,
} nexar_reduce_op;

/** A piece of memory to send from or to receive into. */
typedef struct nexar_iov {
    void *base;
    size_t nbytes;
} nexar_iov;

/** What went wrong, in fields.  `text` is the whole sentence for people, `hint` what to do about it (may be empty). */
typedef struct nexar_error {
    uint32_t size;
    nexar_status status;
    uint32_t peer; /**< the rank to blame, or NEXAR_NO_RANK */
    uint32_t reserved;
    uint64_t comm;       /**< communicator id, 0 if none */
    uint64_t sequence;   /**< number of the operation on that communicator, 0 if none */
    uint64_t elapsed_ns; /**< since the operation began */
    char op[32];         /**< "all_reduce", "recv", ... or empty */
    char text[512];
    char hint[256];
} nexar_error;

/** @returns NEXAR_ABI_VERSION as the library was compiled.  @threads any */
NEXAR_API uint32_t nexar_abi_version(void);

/** @returns "major.minor.patch".  @threads any */
NEXAR_API const char *nexar_version(void);

/** For bindings, which lay out the structs by themselves: sizeof the public struct `name` ("nexar_config") as
 *  the library was compiled.
 *  @returns bytes; 0 for an unknown name or NULL.  @threads any */
NEXAR_API size_t nexar_struct_size(const char *name);

/** @returns a static string such as "ETIMEDOUT"; "?" for a number that is no status.  @threads any */
NEXAR_API const char *nexar_status_name(nexar_status status);

/** @returns a static sentence such as "the deadline passed".  @threads any */
NEXAR_API const char *nexar_status_text(nexar_status status);

/** The sentence for the last call that failed on this thread.
 *  @returns a string that is valid until the next failing call on this thread; never NULL.  @threads any */
NEXAR_API const char *nexar_last_error(void);

/** The last call that failed on this thread, in fields.  `out->size` must be set.
 *  @returns NEXAR_OK, NEXAR_EINVAL.  @threads any */
NEXAR_API nexar_status nexar_last_error_info(nexar_error *out);

/** @returns bytes of one element, 0 for a number that is no type.  @threads any */
NEXAR_API size_t nexar_dtype_size(nexar_dtype dtype);

/** @returns a static string such as "float32"; "?" for a number that is no type.  @threads any */
NEXAR_API const char *nexar_dtype_name(nexar_dtype dtype);

/** @returns a static string such as "sum"; "?" for a number that is no operator.  @threads any */
NEXAR_API const char *nexar_reduce_op_name(nexar_reduce_op op);

#ifdef __cplusplus
}
#endif

#endif
