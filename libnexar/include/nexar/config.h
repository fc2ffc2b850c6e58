/** nexar/config.h - everything that can be set, and where each value came from. */
#ifndef NEXAR_CONFIG_H
#define NEXAR_CONFIG_H

#include "nexar/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Zero (or NULL) in any field: the environment variable NEXAR_<FIELD>, else the default.  nexar_config_describe lists
 *  variables, defaults and ranges.  Strings are copied. */
typedef struct nexar_config {
    uint32_t size;
    uint32_t rank_plus_one;       /**< wanted rank + 1; 0: from the environment, or any */
    uint32_t world_size;          /**< 0: from the environment or the seed */
    uint32_t local_rank_plus_one; /**< rank among those of this host + 1 */
    uint32_t local_size;          /**< ranks on this host */
    uint32_t reserved;
    const char *join;            /**< join string of the seed: nexar://host:port?token=...&ca=sha256:... */
    const char *secret;          /**< shared secret of at least 128 bits instead of a join string */
    const char *bind;            /**< address to listen on, without a port */
    const char *interface_;      /**< network interfaces to use, as in NCCL: "eth0", "^lo,docker", "=eth0" */
    const char *advertise;       /**< address to tell the others */
    const char *transports;      /**< "auto", or names of transports, best first */
    int64_t timeout_ns;          /**< default deadline of every operation */
    int64_t join_timeout_ns;     /**< deadline of formation */
    int64_t heartbeat_ns;        /**< silence after which a peer is asked for a sign of life */
    int64_t peer_timeout_ns;     /**< unanswered time after which a peer is lost */
    int64_t linger_ns;           /**< how long closing may wait for receivers */
    int64_t spin_ns;             /**< how long a blocked caller polls before it sleeps */
    uint64_t small_bytes;        /**< messages up to this size share one stream */
    uint64_t lane_bytes;         /**< unread bytes after which one key of a lane holds back its sender */
    uint64_t lane_messages;      /**< unread messages after which one key of a lane holds back its sender */
    uint64_t unread_bytes;       /**< unread bytes of one peer in all lanes */
    uint64_t connection_window;  /**< QUIC flow control window of a connection */
    uint64_t stream_window;      /**< QUIC flow control window of a stream */
    const char *dump_dir;        /**< folder for dumps of the flight recorder, see nexar_comm_dump */
    const char *modules;         /**< files of other transports, separated by colons, see nexar/ext.h */
    int64_t recovery_timeout_ns; /**< how long too few members may be in reach before that is an error */
    uint64_t rpc_threads;        /**< threads that handle calls, of each communicator with functions, see nexar/rpc.h */
    uint64_t rpc_queue;          /**< calls that wait for a thread before their senders are held back */
    uint32_t elastic;            /**< 1: ranks may join and leave after the job has formed, see nexar/elastic.h */
    uint32_t min_world;          /**< of such a job: with fewer ranks a checkpoint waits for others; 0: 1 */
    uint32_t max_world;          /**< of such a job: with so many ranks nobody joins; 0: no limit */
    uint32_t reserved_2;         /**< 0 */
} nexar_config;

/** One row of the table of settings.  Strings are static or live as long as the library. */
typedef struct nexar_config_field {
    uint32_t size;
    uint32_t reserved;
    const char *name;     /**< field of nexar_config, "timeout_ns" */
    const char *variable; /**< environment variable, "NEXAR_TIMEOUT" */
    const char *unit;     /**< "seconds", "bytes", "ranks", "text" */
    const char *fallback; /**< default, as text */
    const char *range;    /**< allowed values, as text */
    const char *help;
} nexar_config_field;

/** Row `index` of the table of settings, 0 first.  `out->size` must be set.
 *  @returns NEXAR_OK; NEXAR_EINVAL after the last row.  @threads any */
NEXAR_API nexar_status nexar_config_describe(size_t index, nexar_config_field *out);

/** What the environment of this process says about the job: which launcher was found and why, rank, size, where to
 *  meet; and every setting with its value and where it came from.  JSON, cut at `cap` bytes; `*need` is the
 *  whole length and one.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ECONFIG (a variable is wrong; the text is still written), NEXAR_ENOMEM
 *  @threads any, but not while another thread changes the environment */
NEXAR_API nexar_status nexar_environment(char *json, size_t cap, size_t *need);

#ifdef __cplusplus
}
#endif

#endif
