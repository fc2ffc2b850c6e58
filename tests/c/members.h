/* members.h - a cluster's CA and credentials of members, for tests that speak QUIC. */
#ifndef NX_TEST_MEMBERS_H
#define NX_TEST_MEMBERS_H

#include "check.h"
#include "identity/bundle.h"
#include "identity/ca.h"
#include "identity/csr.h"
#include "identity/verify.h"

#include <time.h>

#define MEMBERS_DAY ((int64_t)86400)

static inline struct nx_ca *members_ca(void)
{
    struct nx_ca *ca;

    assert_ok(nx_ca_make((int64_t)time(NULL), MEMBERS_DAY, &ca));
    return ca;
}

/* A credential of a new member. */
static inline struct nx_bundle *members_join(const struct nx_ca *ca, uint8_t node[NX_NODE_ID_SIZE])
{
    struct nx_bundle *bundle;
    struct nx_der csr, leaf;
    struct nx_key *key;

    assert_ok(nx_key_make(&key));
    assert_ok(nx_csr_make(key, &csr));
    assert_ok(nx_ca_issue_member(ca, csr.data, csr.size, (int64_t)time(NULL), MEMBERS_DAY, node, &leaf));
    assert_ok(nx_bundle_make(key, leaf.data, leaf.size, nx_ca_trust(ca), &bundle));
    nx_der_free(&leaf);
    nx_der_free(&csr);
    nx_key_free(key);
    return bundle;
}

#endif
