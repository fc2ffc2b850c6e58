/* wire/lane.h - the lanes of messages and the limits that the protocol itself sets. */
#ifndef NX_WIRE_LANE_H
#define NX_WIRE_LANE_H

#include <stdbool.h>
#include <stdint.h>

/* 0-3 and 7 have the values of enum nexar_lane. */
enum nx_lane {
    NX_LANE_CONTROL = 0,
    NX_LANE_DATA = 1,
    NX_LANE_RPC_REQUEST = 2,
    NX_LANE_RPC_RESPONSE = 3,
    NX_LANE_RAW = 4,
    NX_LANE_RAW_COMM = 5,
    NX_LANE_RAW_TAGGED = 6,
    NX_LANE_RELAY = 7,
    NX_LANE_P2P = 8,
    NX_LANE_COLL = 9,
    /* The head does not say: the kind of the framed message decides. */
    NX_LANE_BY_KIND = 255,
};

/* The reference drops a message that is longer, without a word to the sender. */
#define NX_MESSAGE_MAX ((uint64_t)1 << 32)

/* How many keys a receiver may hold back of one sender at the same time: each costs the sender memory. */
#define NX_HELD_MAX 4096

/* Offsets in an archive are signed 32 bits, and its length is a multiple of 8. */
#define NX_ARCHIVE_MAX ((uint64_t)INT32_MAX - 7)

static inline bool nx_lane_known(uint8_t lane)
{
    return lane <= NX_LANE_COLL;
}

/* Whether messages of this lane are an 8-byte header and an archive, not bytes of the user. */
static inline bool nx_lane_framed(uint8_t lane)
{
    return lane <= NX_LANE_RPC_RESPONSE || lane == NX_LANE_RELAY || lane == NX_LANE_BY_KIND;
}

#endif
