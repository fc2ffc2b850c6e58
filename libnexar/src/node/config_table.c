/* node/config_table.c - all settings of the library, one row each.
 *
 * Owner: nobody, constant.  It reads nothing and checks nothing; a setting that is not here does not exist. */
#include "node/config_table.h"

#include "node/config.h"

#include <stddef.h>

/* A field of nexar_config, and one that only the environment sets. */
#define FIELD(f) .name = "config." #f, .caller_at = offsetof(nexar_config, f), .at = offsetof(struct nx_config, f)
#define VARIABLE_ALONE(f) .name = "", .at = offsetof(struct nx_config, f)

const struct nx_setting nx_settings[] = {
    {FIELD(rank_plus_one), .variable = "NEXAR_RANK", .kind = NX_SETTING_RANK, .unit = "ranks", .fallback = "",
     .range = "0..4294967293",
     .help = "rank of this process; if it is not set, that of the launcher that is found, else any"},
    {FIELD(world_size), .variable = "NEXAR_WORLD_SIZE", .kind = NX_SETTING_NUMBER, .unit = "ranks", .fallback = "",
     .range = "1..4294967294", .help = "ranks of the job; if it is not set, as the launcher or the seed says, else 1"},
    {FIELD(local_rank_plus_one), .variable = "NEXAR_LOCAL_RANK", .kind = NX_SETTING_RANK, .unit = "ranks",
     .fallback = "", .range = "0..4294967293", .help = "rank among those of this host"},
    {FIELD(local_size), .variable = "NEXAR_LOCAL_SIZE", .kind = NX_SETTING_NUMBER, .unit = "ranks", .fallback = "",
     .range = "1..4294967294", .help = "ranks on this host"},
    {FIELD(join), .variable = "NEXAR_JOIN", .kind = NX_SETTING_SECRET, .unit = "text", .fallback = "",
     .range = "nexar://host:port?token=...&ca=sha256:...",
     .help = "join string of the seed; a secret (the reference: NEXAR_CLUSTER_TOKEN)"},
    {FIELD(secret), .variable = "NEXAR_SECRET", .kind = NX_SETTING_SECRET, .unit = "text", .fallback = "",
     .range = "at least 128 bits, the same for all ranks",
     .help = "instead of a join string: rank 0 is the seed, and both sides prove that they know the secret"},
    {FIELD(bind), .variable = "NEXAR_BIND", .kind = NX_SETTING_TEXT, .unit = "text", .fallback = "",
     .range = "an IPv4 or IPv6 address of this host, without a port",
     .help = "address to listen on; if it is not set, all addresses, or that of NEXAR_INTERFACE"},
    {FIELD(interface_), .variable = "NEXAR_INTERFACE", .kind = NX_SETTING_TEXT, .unit = "text", .fallback = "",
     .range = "beginnings of names (eth,ib), =exact names (=eth0), or ^ those to leave out (^lo,docker)",
     .help = "network interfaces whose addresses the others are told"},
    {FIELD(advertise), .variable = "NEXAR_ADVERTISE", .kind = NX_SETTING_TEXT, .unit = "text", .fallback = "",
     .range = "up to 4 addresses or host names, separated by commas, without ports",
     .help = "addresses to tell the others instead of those of the interfaces"},
    {FIELD(transports), .variable = "NEXAR_TRANSPORTS", .kind = NX_SETTING_TRANSPORTS, .unit = "text",
     .fallback = "auto", .range = "auto, or names of transports, best first, separated by commas: quic",
     .help = "what may carry payloads (the reference: NEXAR_ENABLE_TCP_BULK_SIDECAR)"},
    {FIELD(timeout_ns), .variable = "NEXAR_TIMEOUT", .kind = NX_SETTING_SPAN, .unit = "seconds", .fallback = "600",
     .range = "1ms..never",
     .help = "deadline of every operation that is given none (the reference: NEXAR_COLLECTIVE_TIMEOUT_SECS, "
             "NEXAR_BARRIER_TIMEOUT_SECS, NEXAR_RPC_TIMEOUT_SECS)"},
    {FIELD(join_timeout_ns), .variable = "NEXAR_JOIN_TIMEOUT", .kind = NX_SETTING_SPAN, .unit = "seconds",
     .fallback = "60", .range = "100ms..never", .help = "deadline for all ranks to be connected with each other"},
    {FIELD(heartbeat_ns), .variable = "NEXAR_HEARTBEAT", .kind = NX_SETTING_SPAN, .unit = "seconds",
     .fallback = "500ms", .range = "10ms..1h",
     .help = "silence after which a peer is asked for a sign of life (the reference: NEXAR_HEARTBEAT_INTERVAL_SECS)"},
    {FIELD(peer_timeout_ns), .variable = "NEXAR_PEER_TIMEOUT", .kind = NX_SETTING_SPAN, .unit = "seconds",
     .fallback = "2", .range = "50ms..24h",
     .help = "unanswered time after which a peer is lost (the reference: NEXAR_HEARTBEAT_TIMEOUT_SECS)"},
    {FIELD(linger_ns), .variable = "NEXAR_LINGER", .kind = NX_SETTING_SPAN, .unit = "seconds", .fallback = "5",
     .range = "0..1h", .help = "how long closing may wait for others to receive what was sent to them"},
    {FIELD(spin_ns), .variable = "NEXAR_SPIN", .kind = NX_SETTING_SPAN, .unit = "seconds", .fallback = "50us",
     .range = "0..1s",
     .help = "how long a blocked caller polls before it sleeps; while ranks outnumber cores it does not"},
    {FIELD(small_bytes), .variable = "NEXAR_SMALL_BYTES", .kind = NX_SETTING_BYTES, .unit = "bytes", .fallback = "16k",
     .range = "64..1m", .help = "messages up to this size share one stream; larger ones have one each"},
    {FIELD(lane_bytes), .variable = "NEXAR_LANE_BYTES", .kind = NX_SETTING_BYTES, .unit = "bytes", .fallback = "16m",
     .range = "64k..3g", .help = "unread bytes after which one key of a lane holds back its sender"},
    {FIELD(lane_messages), .variable = "NEXAR_LANE_MESSAGES", .kind = NX_SETTING_COUNT, .unit = "messages",
     .fallback = "4096", .range = "1..4294967295",
     .help = "unread messages after which one key of a lane holds back its sender"},
    {FIELD(unread_bytes), .variable = "NEXAR_UNREAD_BYTES", .kind = NX_SETTING_BYTES, .unit = "bytes",
     .fallback = "48m", .range = "64k..3g",
     .help = "unread bytes of one peer in all lanes; at least NEXAR_LANE_BYTES; if it is not set, three of them if "
             "that is more"},
    {FIELD(connection_window), .variable = "NEXAR_CONNECTION_WINDOW", .kind = NX_SETTING_BYTES, .unit = "bytes",
     .fallback = "64m", .range = "1m..4294967295",
     .help = "QUIC flow control window of a connection; at least NEXAR_UNREAD_BYTES and 8 stream windows, so that "
             "unread data leaves room for control; if it is not set, with 16 stream windows if that is more"},
    {FIELD(stream_window), .variable = "NEXAR_STREAM_WINDOW", .kind = NX_SETTING_BYTES, .unit = "bytes",
     .fallback = "1m", .range = "64k..256m", .help = "QUIC flow control window of a stream; a power of two"},
    {FIELD(dump_dir), .variable = "NEXAR_DUMP_DIR", .kind = NX_SETTING_TEXT, .unit = "text", .fallback = "",
     .range = "path of a folder, made if it is not there",
     .help = "where the flight recorder is written to as nexar-RANK.json, when a collective fails and on SIGUSR1"},
    {VARIABLE_ALONE(secret_file), .variable = "NEXAR_SECRET_FILE", .kind = NX_SETTING_TEXT, .unit = "text",
     .fallback = "", .range = "path of a file that nobody else may read (mode 0600 or 0400)",
     .help = "file with the secret, instead of NEXAR_SECRET"},
    {VARIABLE_ALONE(master_addr), .variable = "NEXAR_MASTER_ADDR", .kind = NX_SETTING_TEXT, .unit = "text",
     .fallback = "", .range = "host name or address, without a port",
     .help = "where rank 0 is, for ranks that share a secret; if it is not set, as the launcher says"},
    {VARIABLE_ALONE(master_port), .variable = "NEXAR_MASTER_PORT", .kind = NX_SETTING_NUMBER, .unit = "port",
     .fallback = "", .range = "1..65535",
     .help =
         "UDP port of rank 0 there; if it is not set, the launcher's, else one between 20000 and 59999 that follows "
         "from the job"},
    {VARIABLE_ALONE(job_id), .variable = "NEXAR_JOB_ID", .kind = NX_SETTING_TEXT, .unit = "text", .fallback = "",
     .range = "any text, the same for all ranks of a job and for no other job",
     .help = "tells jobs apart that meet on one host; if it is not set, as the launcher says"},
    {VARIABLE_ALONE(group), .variable = "NEXAR_GROUP", .kind = NX_SETTING_TEXT, .unit = "text", .fallback = "",
     .range = "any text, the same for the ranks that share a host and for no others",
     .help = "which ranks are counted as one host's; if it is not set, those of one kernel and one /dev/shm"},
    {VARIABLE_ALONE(detect), .variable = "NEXAR_DETECT", .kind = NX_SETTING_CHOICE, .unit = "text", .fallback = "auto",
     .range = "auto|none|torchrun|openmpi|pmi|pmix|slurm|kubernetes",
     .help = "which launcher's variables give rank and size: the first that is found, none, or this one"},
    {VARIABLE_ALONE(coll_tune), .variable = "NEXAR_COLL_TUNE", .kind = NX_SETTING_TEXT, .unit = "text", .fallback = "",
     .range = "rules such as all_reduce:0-64k:rd,all_reduce:64k-:ring, the same on all ranks",
     .help = "which algorithm a collective uses (the reference: NEXAR_PIPELINE_SEGMENT_BYTES, NEXAR_RING_MAX_WORLD)"},
    {VARIABLE_ALONE(reproducible), .variable = "NEXAR_REPRODUCIBLE", .kind = NX_SETTING_CHOICE, .unit = "text",
     .fallback = "0", .range = "0|1",
     .help = "1: only algorithms that sum in the order of ranks, so that a result has the same bits for any number of "
             "hosts and any size"},
    {.name = "",
     .variable = "NEXAR_LOG",
     .kind = NX_SETTING_ELSEWHERE,
     .unit = "text",
     .fallback = "warn",
     .range = "error|warn|info|debug|trace",
     .help = "lines up to this level are written; read once, when the library is loaded"},
    {.name = "",
     .variable = "NEXAR_LIBRARY",
     .kind = NX_SETTING_ELSEWHERE,
     .unit = "text",
     .fallback = "",
     .range = "path of libnexar.so",
     .help = "the library that Python loads instead of the one in the package"},
};

const size_t nx_setting_count = sizeof(nx_settings) / sizeof(nx_settings[0]);

_Static_assert(sizeof(nx_settings) / sizeof(nx_settings[0]) <= NX_SETTINGS_MAX, "struct nx_config has too few sources");
