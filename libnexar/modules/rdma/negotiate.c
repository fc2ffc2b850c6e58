/* negotiate.c - which port and GID of which device the two ends use, and the words by which they agree.
 *
 * Owner: the engine; mostly functions of their arguments.  Each end tells the places that it has, and both choose the
 * same pair of them.  It opens nothing. */
#include "rdma.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GIDS_MAX = 1024, PLACE = 24 };

/* ---- addresses ---- */

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool is_v4(const uint8_t *gid)
{
    return memcmp(gid, mapped, sizeof(mapped)) == 0;
}

static bool is_link_local(const uint8_t *gid)
{
    return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80;
}

/* "10.0.0.7:41234" or "[fd00::1]:41234", as a GID. */
static bool read_address(const char *text, uint8_t *gid)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t n = colon == NULL ? 0 : (size_t)(colon - text);

    if (n == 0 || n >= sizeof(host))
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    host[strcspn(host, "]%")] = '\0';
    if (inet_pton(AF_INET, host, gid + 12) == 1) {
        memcpy(gid, mapped, sizeof(mapped));
        return true;
    }
    return inet_pton(AF_INET6, host[0] == '[' ? host + 1 : host, gid) == 1;
}

static bool is_any(const uint8_t *gid)
{
    static const uint8_t zero[16];

    return memcmp(gid, zero, 16) == 0 || (is_v4(gid) && memcmp(gid + 12, zero, 4) == 0);
}

/* The address from which this host sends to that one. */
static bool route_to(const uint8_t *gid, uint8_t *own)
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* it also speaks to mapped addresses */
    bool found;

    memcpy(&at.sin6_addr, gid, 16);
    found = fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
            getsockname(fd, (struct sockaddr *)&at, &size) == 0;
    if (found)
        memcpy(own, &at.sin6_addr, 16);
    if (fd >= 0)
        close(fd);
    return found;
}

/* The own address of the QUIC connection; zeros if it is not known. */
static void own_address(struct nx_rdma *self, nexar_link *link, uint8_t *gid)
{
    char own[80] = "", peer[80] = "";
    uint8_t other[16];

    memset(gid, 0, 16);
    self->host->link_addresses(link, own, peer, sizeof(own));
    if (read_address(own, gid) && !is_any(gid))
        return;
    if (!read_address(peer, other) || !route_to(other, gid))
        memset(gid, 0, 16);
}

/* ---- places ---- */

static bool is_wanted(int want, uint32_t value)
{
    return want < 0 || (uint32_t)want == value;
}

static uint8_t kind_of(const struct ibv_port_attr *port, const struct ibv_gid_entry *gid)
{
    if (port->link_layer != IBV_LINK_LAYER_ETHERNET)
        return NX_RDMA_IB;
    return gid->gid_type == IBV_GID_TYPE_ROCE_V2 ? NX_RDMA_ROCE_V2 : NX_RDMA_ROCE_V1;
}

static void fill(struct nx_rdma_place *p, struct nx_rdma *self, uint32_t device, const struct ibv_port_attr *port,
                 const struct ibv_gid_entry *gid, const uint8_t *own)
{
    const struct ibv_device_attr *attr = &self->device[device].attr;
    int mtu = self->want_mtu != 0 && self->want_mtu < (int)port->active_mtu ? self->want_mtu : (int)port->active_mtu;

    *p = (struct nx_rdma_place){.kind = kind_of(port, gid),
                                .mtu = (uint8_t)mtu,
                                .reads = attr->max_qp_rd_atom < NX_RDMA_READS ? (uint8_t)attr->max_qp_rd_atom
                                                                              : (uint8_t)NX_RDMA_READS,
                                .lid = port->lid,
                                .device = (uint8_t)device,
                                .port = (uint8_t)gid->port_num,
                                .index = (uint16_t)gid->gid_index,
                                .max_message = port->max_msg_sz};
    memcpy(p->gid, gid->gid.raw, 16);
    p->routed = p->kind != NX_RDMA_IB && memcmp(p->gid, own, 16) == 0;
}

/* Which are told first, since not all may have a place. */
static uint32_t class_of(const struct nx_rdma_place *p)
{
    if (p->routed)
        return 0;
    return p->kind == NX_RDMA_IB || (p->kind == NX_RDMA_ROCE_V2 && is_v4(p->gid)) ? 1 : 2;
}

enum { CLASSES = 3 };

/* Those of a device, of one class. */
static uint32_t places_of(struct nx_rdma *self, uint32_t device, uint32_t class, const uint8_t *own,
                          struct ibv_gid_entry *gids, struct nx_rdma_place *out, uint32_t max)
{
    struct nx_rdma_device *d = &self->device[device];
    ssize_t n = self->v->query_gid_table(d->context, gids, GIDS_MAX, 0, sizeof(*gids));
    struct ibv_port_attr port = {0};
    uint32_t of = 0, count = 0;

    for (ssize_t i = 0; i < n && count < max; i++) {
        const struct ibv_gid_entry *gid = &gids[i];

        if (gid->port_num > UINT8_MAX || !is_wanted(self->want_port, gid->port_num) ||
            !is_wanted(self->want_gid, gid->gid_index))
            continue;
        if (gid->port_num != of && nx_verbs_port(self->v, d->context, (uint8_t)gid->port_num, &port) != 0)
            continue;
        of = gid->port_num;
        if (port.state != IBV_PORT_ACTIVE || d->attr.max_qp_rd_atom < 1)
            continue;
        if (port.link_layer != IBV_LINK_LAYER_ETHERNET && gid->gid_index != 0 && self->want_gid < 0)
            continue; /* those of InfiniBand lead to the same port */
        fill(&out[count], self, device, &port, gid, own);
        count += class_of(&out[count]) == class;
    }
    return count;
}

uint32_t nx_rdma_places(struct nx_rdma *self, nexar_link *link, struct nx_rdma_place *out)
{
    struct ibv_gid_entry *gids = calloc(GIDS_MAX, sizeof(*gids));
    uint8_t own[16];
    uint32_t count = 0;

    if (gids == NULL)
        return 0;
    memset(own, 0, sizeof(own));
    if (link != NULL)
        own_address(self, link, own);
    for (uint32_t class = 0; class < CLASSES; class ++) {
        for (uint32_t i = 0; i < self->devices; i++) {
            if (!self->device[i].dead)
                count += places_of(self, i, class, own, gids, out + count, NX_RDMA_PLACES - count);
        }
    }
    free(gids);
    return count;
}

/* How good it is to send from one to the other; 0: that is not possible.  Symmetric. */
static uint32_t score(const struct nx_rdma_place *a, const struct nx_rdma_place *b)
{
    bool same_net = memcmp(a->gid, b->gid, is_v4(a->gid) ? 15 : 8) == 0;
    uint32_t routed = (a->routed != 0 ? 10u : 0u) + (b->routed != 0 ? 10u : 0u);

    if (a->kind != b->kind)
        return 0;
    if (a->kind == NX_RDMA_IB)
        return same_net ? 30 : 0;
    if (is_v4(a->gid) != is_v4(b->gid) || is_link_local(a->gid) != is_link_local(b->gid))
        return 0;
    if (a->kind == NX_RDMA_ROCE_V1)
        return same_net ? 1 + routed : 0;
    return (is_link_local(a->gid) ? 2u : is_v4(a->gid) ? 5u : 4u) + (same_net ? 3u : 0u) + routed;
}

bool nx_rdma_choose(const struct nx_rdma_place *low, uint32_t lows, const struct nx_rdma_place *high, uint32_t highs,
                    uint32_t *i, uint32_t *j)
{
    uint32_t best = 0;

    for (uint32_t a = 0; a < lows; a++) {
        for (uint32_t b = 0; b < highs; b++) {
            uint32_t s = score(&low[a], &high[b]);

            if (s <= best)
                continue;
            best = s;
            *i = a;
            *j = b;
        }
    }
    return best != 0;
}

/* ---- words ---- */

/* word, version, count, 0; then per place: kind, routed, mtu, reads, LID (u16), 0 (u16), GID; or number of the queue
 * pair and its first packet (u32 each).  Little endian. */

static void put32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, 4);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, 4);
    return le32toh(value);
}

size_t nx_rdma_words_write(uint8_t *out, const struct nx_rdma_words *words)
{
    uint8_t *at = out + 4;

    memcpy(out, (const uint8_t[]){words->word, NX_RDMA_VERSION, words->count, 0}, 4);
    if (words->word == NX_RDMA_WORD_PAIR) {
        put32(at, words->qpn);
        put32(at + 4, words->psn);
        at += 8;
    }
    for (uint32_t i = 0; words->word == NX_RDMA_WORD_PLACES && i < words->count; i++, at += PLACE) {
        const struct nx_rdma_place *p = &words->place[i];

        memcpy(at, (const uint8_t[]){p->kind, p->routed, p->mtu, p->reads}, 4);
        put32(at + 4, p->lid);
        memcpy(at + 8, p->gid, 16);
    }
    return (size_t)(at - out);
}

static bool read_place(const uint8_t *at, struct nx_rdma_place *p)
{
    uint32_t lid = get32(at + 4);

    *p = (struct nx_rdma_place){.kind = at[0], .routed = at[1], .mtu = at[2], .reads = at[3], .lid = (uint16_t)lid};
    memcpy(p->gid, at + 8, 16);
    return p->kind >= NX_RDMA_IB && p->kind <= NX_RDMA_ROCE_V2 && p->routed <= 1 && p->mtu >= IBV_MTU_256 &&
           p->mtu <= IBV_MTU_4096 && p->reads >= 1 && lid <= UINT16_MAX;
}

bool nx_rdma_words_read(const uint8_t *bytes, size_t n, struct nx_rdma_words *out)
{
    *out = (struct nx_rdma_words){0};
    if (n < 4 || bytes[1] != NX_RDMA_VERSION || bytes[3] != 0)
        return false;
    out->word = bytes[0];
    out->count = bytes[2];
    if (out->word == NX_RDMA_WORD_UP)
        return n == 4 && out->count == 0;
    if (out->word == NX_RDMA_WORD_PAIR) {
        if (n != 12 || out->count != 0)
            return false;
        out->qpn = get32(bytes + 4);
        out->psn = get32(bytes + 8);
        return out->qpn < 1 << 24 && out->psn < 1 << 24;
    }
    if (out->word != NX_RDMA_WORD_PLACES || out->count > NX_RDMA_PLACES || n != 4 + (size_t)out->count * PLACE)
        return false;
    for (uint32_t i = 0; i < out->count; i++) {
        if (!read_place(bytes + 4 + i * PLACE, &out->place[i]))
            return false;
    }
    return true;
}
