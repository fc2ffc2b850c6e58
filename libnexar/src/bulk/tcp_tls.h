/* bulk/tcp_tls.h - records of a TCP connection by OpenSSL: TLS 1.3 with certificates of both sides, judged against the
 * cluster's authority alone.  The only place of bulk/ that knows OpenSSL.
 *
 * A connection is used by one thread at a time: the caller's lock covers both directions. */
#ifndef NX_BULK_TCP_TLS_H
#define NX_BULK_TCP_TLS_H

#include "nexar/ext.h"

#include <stdbool.h>
#include <sys/types.h>

#define NX_TLS_MAC 32

struct nx_tls_context;
struct nx_tls;

/* From PEM.  NEXAR_EAUTH, NEXAR_ENOMEM, NEXAR_ESYSTEM, with a sentence. */
nexar_status nx_tls_context_new(const nexar_tls_identity *identity, struct nx_tls_context **out);
/* What it was made of: a context can be kept as long as it is the same. */
bool nx_tls_context_is(const struct nx_tls_context *context, const nexar_tls_identity *identity);
/* NULL is legal.  Connections made of it live on. */
void nx_tls_context_free(struct nx_tls_context *context);

/* For a non-blocking socket, which stays the caller's.  `peer`: the URI that the other side's certificate must have. */
nexar_status nx_tls_new(struct nx_tls_context *context, int fd, bool server, const char *peer, struct nx_tls **out);
/* NULL is legal. */
void nx_tls_free(struct nx_tls *tls);

/* NEXAR_OK: done, and the peer's certificate is the one that was asked for (a client's word for it is worth nothing
 * before it has read something).  NEXAR_EAGAIN: when the socket is readable.  NEXAR_EAUTH, NEXAR_EPEER: it failed, with
 * a sentence. */
nexar_status nx_tls_handshake(struct nx_tls *tls);

/* A value that both ends of this session have, and nobody else. */
nexar_status nx_tls_binding(struct nx_tls *tls, uint8_t out[NX_TLS_MAC]);

/* Bytes put to `p`; fewer than `n`: none are left but in the socket, of which epoll tells.  0: none now; -1: the end,
 * or an error, with a sentence. */
ssize_t nx_tls_read(struct nx_tls *tls, void *p, size_t n);

/* Seals bytes; how many, 0 if those that are sealed must leave first.  -1 on an error, with a sentence. */
ssize_t nx_tls_write(struct nx_tls *tls, const void *p, size_t n);
/* Sends what is sealed.  1: all of it has left; 0: when the socket is writable; -1 with a sentence. */
int nx_tls_flush(struct nx_tls *tls);
/* Bytes that are sealed and have not left. */
size_t nx_tls_backlog(const struct nx_tls *tls);

/* HMAC-SHA256; false if memory is short. */
bool nx_tls_mac(const void *key, size_t key_size, const void *bytes, size_t n, uint8_t out[NX_TLS_MAC]);
bool nx_tls_same(const void *a, const void *b, size_t n);
nexar_status nx_tls_random(void *to, size_t n);

/* Records under one key, after which the sender takes the next one; a test may lower it. */
extern uint64_t nx_tls_key_records;

#endif
