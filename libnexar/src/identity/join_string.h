/* identity/join_string.h - all that a worker needs to join, in one string:
 *
 *      nexar://host:port?token=<43 characters>&ca=sha256:<64 digits>[&host=host:port]...
 *
 *  A host is an IPv4 address, an IPv6 address in brackets, or a name.  The first address stands before the question
 *  mark; a seed with several interfaces lists the others, and a worker tries all of them.  The token is 32 random
 *  bytes in base64url: the string is a secret.  `ca` is the SHA-256 of the cluster CA's certificate: by it the worker
 *  knows the seed before it says anything. */
#ifndef NX_IDENTITY_JOIN_STRING_H
#define NX_IDENTITY_JOIN_STRING_H

#include "nexar/base.h"

#include "identity/digest.h"

#define NX_TOKEN_SIZE 32
#define NX_JOIN_HOSTS 8
#define NX_JOIN_STRING_LIMIT 4096

struct nx_join_host {
    char name[254]; /* without brackets */
    uint16_t port;
};

struct nx_join_string {
    uint8_t token[NX_TOKEN_SIZE];
    uint8_t ca_sha256[NX_SHA256_SIZE];
    size_t host_count; /* at least 1 */
    struct nx_join_host hosts[NX_JOIN_HOSTS];
};

/* NX_TOKEN_SIZE random bytes.  NEXAR_ESYSTEM. */
nexar_status nx_token_make(uint8_t token[NX_TOKEN_SIZE]);

/* Strict: one spelling, nothing left over, no unknown parameter.  NEXAR_ECONFIG with a sentence that says which part
 * is wrong and never repeats any of the token; `out` is then zeros. */
nexar_status nx_join_string_parse(const char *text, struct nx_join_string *out);

/* Free with nx_free_secret.  NEXAR_EINVAL if a host is none; NEXAR_ENOMEM. */
nexar_status nx_join_string_format(const struct nx_join_string *join, char **out);

#endif
