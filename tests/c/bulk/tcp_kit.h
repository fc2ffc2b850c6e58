/* tcp_kit.h - pairs of ranks with TCP between them: credentials and options. */
#ifndef NX_TEST_TCP_KIT_H
#define NX_TEST_TCP_KIT_H

#include "fakekit.h"

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

#endif
