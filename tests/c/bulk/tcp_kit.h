/* tcp_kit.h - pairs of ranks with TCP between them: credentials, options, messages that can be told apart. */
#ifndef NX_TEST_TCP_KIT_H
#define NX_TEST_TCP_KIT_H

#include "check.h"
#include "fakehost.h"

#include "bulk/bulk.h"
#include "identity/bundle.h"
#include "identity/ca.h"
#include "identity/csr.h"

#include <time.h>

/* What two ranks show and expect. */
struct tcp_kit {
    struct nx_ca *ca, *foreign;
    struct nx_pem pem[2], stranger; /* of rank 0 and 1; signed by another authority */
    char name[2][NX_NAME_SIZE], stranger_name[NX_NAME_SIZE];
    const struct nx_pem *show[2];
    const char *expect[2]; /* by rank: the name of the other */
    const char *trust[2];  /* NULL: that of the authority */
};

static inline void kit_leaf(struct nx_ca *ca, struct nx_pem *out, char name[NX_NAME_SIZE])
{
    struct nx_key *key = NULL;
    struct nx_der csr = {0}, leaf = {0};
    struct nx_bundle *bundle = NULL;
    uint8_t id[NX_NODE_ID_SIZE];

    assert_ok(nx_key_make(&key));
    assert_ok(nx_csr_make(key, &csr));
    assert_ok(nx_ca_issue_member(ca, csr.data, csr.size, time(NULL), 86400, id, &leaf));
    assert_ok(nx_bundle_make(key, leaf.data, leaf.size, nx_ca_trust(ca), &bundle));
    assert_ok(nx_bundle_pem(bundle, out));
    nx_name_format(&bundle->name, name);
    nx_bundle_free(bundle);
    nx_der_free(&leaf);
    nx_der_free(&csr);
    nx_key_free(key);
}

static inline void kit_init(struct tcp_kit *kit)
{
    *kit = (struct tcp_kit){0};
    assert_ok(nx_ca_make(time(NULL), 86400, &kit->ca));
    assert_ok(nx_ca_make(time(NULL), 86400, &kit->foreign));
    for (int i = 0; i < 2; i++)
        kit_leaf(kit->ca, &kit->pem[i], kit->name[i]);
    kit_leaf(kit->foreign, &kit->stranger, kit->stranger_name);
    for (int i = 0; i < 2; i++) {
        kit->show[i] = &kit->pem[i];
        kit->expect[i] = kit->name[1 - i];
    }
}

static inline void kit_free(struct tcp_kit *kit)
{
    nx_pem_free(&kit->pem[0]);
    nx_pem_free(&kit->pem[1]);
    nx_pem_free(&kit->stranger);
    nx_ca_free(kit->ca);
    nx_ca_free(kit->foreign);
}

static inline nexar_status kit_identity(void *arg, uint32_t rank, nexar_tls_identity *out)
{
    const struct tcp_kit *kit = arg;

    out->certificate = kit->show[rank]->leaf;
    out->key = kit->show[rank]->key;
    out->authority = kit->trust[rank] != NULL ? kit->trust[rank] : kit->pem[rank].ca;
    out->peer = kit->expect[rank];
    return NEXAR_OK;
}

static inline struct fake_options kit_options(struct tcp_kit *kit, uint64_t seed)
{
    return (struct fake_options){
        .module = &nx_tcp_module, .seed = seed, .memory = 50, .identity = kit_identity, .arg = kit};
}

static inline struct fake_options kit_plain(uint64_t seed)
{
    return (struct fake_options){.module = &nx_tcp_module,
                                 .seed = seed,
                                 .memory = 50,
                                 .setting = {{"NEXAR_TCP_TLS=off"}, {"NEXAR_TCP_TLS=off"}}};
}

static inline struct fake_pair *kit_open(const struct fake_options *options)
{
    struct fake_pair *pair = fake_open(options);

    assert_driven(fake_ready(pair) || fake_state(pair, 0) == FAKE_UNUSABLE || fake_state(pair, 1) == FAKE_UNUSABLE);
    if (!fake_ready(pair))
        fail_msg("%s%s", pair->node[0].link.why, pair->node[1].link.why);
    return pair;
}

/* ---- messages: the bytes follow from number and length ---- */

static inline void kit_fill(uint8_t *to, uint64_t number, size_t n)
{
    struct rng rng = {.state = number * 977 + n};
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t v = rng_next(&rng);

        memcpy(to + i, &v, 8);
    }
    for (; i < n; i++)
        to[i] = (uint8_t)i;
}

static inline nexar_status kit_send(struct fake_pair *pair, uint32_t rank, uint64_t number, uint8_t *payload, size_t n,
                                    bool must_copy)
{
    uint8_t head[NEXAR_BULK_HEAD_MAX];

    memset(head, (int)(number & 0x7f), sizeof(head));
    memcpy(head, &number, sizeof(number));
    kit_fill(payload, number, n);
    return fake_send(pair, rank, head, (uint32_t)(8 + number % 57), payload, n, must_copy);
}

/* The next message at `rank` is that one. */
static inline void kit_expect(struct fake_pair *pair, uint32_t rank, uint64_t number, size_t n)
{
    struct fake_message *m = fake_take(pair, rank);
    uint8_t *expected = malloc(n + 1);
    uint64_t got;

    assert_non_null(m);
    assert_non_null(expected);
    memcpy(&got, m->head, sizeof(got));
    assert_int_equal(got, number);
    assert_int_equal(m->head_nbytes, 8 + number % 57);
    assert_int_equal(m->nbytes, n);
    kit_fill(expected, number, n);
    assert_memory_equal(m->payload, expected, n);
    free(expected);
    fake_free(m);
}

#endif
