/* bulk/tcp_tls.c - OpenSSL between a socket and its plain bytes.
 *
 * Owner: the connection's lock.  Records that are sealed are gathered and leave with one send; what comes is read
 * ahead, many records with one recv.  It neither dials nor waits, and it knows no frames. */
#include "bulk/tcp_tls.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

enum {
    RECORD = 16384,
    RECORD_MAX = RECORD + 256, /* sealed */
    OUT = 128 << 10,           /* sealed bytes that are gathered */
    IN = 128 << 10,            /* read ahead */
    SPARE = 16384,             /* of OUT, for what OpenSSL says by itself: a handshake, an alert, a new key */
};

/* AES-GCM allows 2^24.5 full records under one key. */
uint64_t nx_tls_key_records = UINT64_C(1) << 23;

struct nx_tls_context {
    SSL_CTX *ctx;
    char *certificate;
};

struct nx_tls {
    SSL *ssl;
    int fd;
    bool server;
    char *peer;
    uint64_t records; /* under this key */
    size_t out_at, out_end;
    uint8_t out[OUT + SPARE];
};

/* ---- sentences ---- */

static nexar_status fail(nexar_status status, const char *doing)
{
    unsigned long code = ERR_peek_error(); /* the first is the cause */
    const char *reason = ERR_reason_error_string(code);

    ERR_clear_error();
    return nx_fail(status, "%s: %s", doing, reason == NULL ? "OpenSSL does not say why" : reason);
}

static const char *verdict(const SSL *ssl)
{
    long result = SSL_get_verify_result(ssl);

    return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}

/* ---- sealed bytes on their way out ---- */

static int gather(BIO *bio, const char *bytes, int n)
{
    struct nx_tls *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if ((size_t)n > sizeof(t->out) - t->out_end) {
        BIO_set_retry_write(bio);
        return -1;
    }
    memcpy(t->out + t->out_end, bytes, (size_t)n);
    t->out_end += (size_t)n;
    return n;
}

static long control(BIO *bio, int command, long number, void *p)
{
    (void)bio;
    (void)number;
    (void)p;
    return command == BIO_CTRL_FLUSH;
}

/* One for all connections, and for ever: OpenSSL keeps methods until it ends. */
static BIO_METHOD *gather_method(void)
{
    static _Atomic(BIO_METHOD *) made;
    BIO_METHOD *method = atomic_load(&made), *none = NULL;

    if (method != NULL)
        return method;
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "gather");
    if (method == NULL)
        return NULL;
    BIO_meth_set_write(method, gather);
    BIO_meth_set_ctrl(method, control);
    if (!atomic_compare_exchange_strong(&made, &none, method)) {
        BIO_meth_free(method);
        method = none;
    }
    return method;
}

/* ---- contexts ---- */

static BIO *text(const char *pem)
{
    return pem == NULL ? NULL : BIO_new_mem_buf(pem, -1);
}

static bool use_identity(SSL_CTX *ctx, const nexar_tls_identity *id)
{
    BIO *c = text(id->certificate), *k = text(id->key), *a = text(id->authority);
    X509 *certificate = c == NULL ? NULL : PEM_read_bio_X509(c, NULL, NULL, NULL);
    EVP_PKEY *key = k == NULL ? NULL : PEM_read_bio_PrivateKey(k, NULL, NULL, NULL);
    X509 *authority = a == NULL ? NULL : PEM_read_bio_X509(a, NULL, NULL, NULL);
    bool good = certificate != NULL && key != NULL && authority != NULL &&
                SSL_CTX_use_certificate(ctx, certificate) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
                SSL_CTX_check_private_key(ctx) == 1 && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), authority) == 1;

    X509_free(authority);
    EVP_PKEY_free(key);
    X509_free(certificate);
    BIO_free(a);
    BIO_free(k);
    BIO_free(c);
    return good;
}

static bool set_rules(SSL_CTX *ctx)
{
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, IN);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256") == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1;
}

nexar_status nx_tls_context_new(const nexar_tls_identity *id, struct nx_tls_context **out)
{
    struct nx_tls_context *c = nx_calloc(1, sizeof(*c));
    nexar_status st;

    *out = NULL;
    if (c == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for TLS");
    ERR_clear_error();
    c->ctx = SSL_CTX_new(TLS_method());
    c->certificate = nx_strdup(id->certificate);
    if (c->ctx == NULL || c->certificate == NULL)
        st = nx_fail(NEXAR_ENOMEM, "no memory for TLS");
    else if (!set_rules(c->ctx))
        st = fail(NEXAR_ESYSTEM, "TLS 1.3 cannot be set up");
    else if (!use_identity(c->ctx, id))
        st = fail(NEXAR_EAUTH, "this rank's own credentials cannot be used for TLS");
    else
        st = NEXAR_OK;
    if (st != NEXAR_OK) {
        nx_tls_context_free(c);
        c = NULL;
    }
    *out = c;
    return st;
}

bool nx_tls_context_is(const struct nx_tls_context *c, const nexar_tls_identity *id)
{
    return c != NULL && strcmp(c->certificate, id->certificate) == 0;
}

void nx_tls_context_free(struct nx_tls_context *c)
{
    if (c == NULL)
        return;
    SSL_CTX_free(c->ctx);
    nx_free(c->certificate);
    nx_free(c);
}

/* ---- connections ---- */

nexar_status nx_tls_new(struct nx_tls_context *context, int fd, bool server, const char *peer, struct nx_tls **out)
{
    BIO_METHOD *method = gather_method();
    struct nx_tls *t = nx_alloc(sizeof(*t));
    BIO *in = NULL, *gathered = NULL;

    *out = t;
    if (t == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a TLS connection");
    t->fd = fd;
    t->server = server;
    t->records = 0;
    t->out_at = t->out_end = 0;
    t->peer = nx_strdup(peer);
    ERR_clear_error();
    t->ssl = SSL_new(context->ctx);
    if (method != NULL && t->ssl != NULL && t->peer != NULL) {
        in = BIO_new_socket(fd, BIO_NOCLOSE);
        gathered = BIO_new(method);
    }
    if (in == NULL || gathered == NULL) {
        BIO_free(in);
        BIO_free(gathered);
        nx_tls_free(t);
        *out = NULL;
        return nx_fail(NEXAR_ENOMEM, "no memory for a TLS connection");
    }
    BIO_set_data(gathered, t);
    BIO_set_init(gathered, 1);
    SSL_set_bio(t->ssl, in, gathered);
    if (server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    return NEXAR_OK;
}

void nx_tls_free(struct nx_tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    nx_free(t->peer);
    nx_free(t);
}

/* Exactly one URI, equal by length and bytes: a zero inside it is no end. */
static bool has_name(X509 *x, const char *name)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    int uris = 0;
    bool same = false;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        const ASN1_IA5STRING *uri = n->d.uniformResourceIdentifier;

        if (n->type != GEN_URI)
            continue;
        uris++;
        same = (size_t)ASN1_STRING_length(uri) == strlen(name) &&
               memcmp(ASN1_STRING_get0_data(uri), name, strlen(name)) == 0;
    }
    GENERAL_NAMES_free(names);
    return uris == 1 && same;
}

static nexar_status judge(const struct nx_tls *t)
{
    X509 *x = SSL_get1_peer_certificate(t->ssl);
    nexar_status st = NEXAR_OK;

    if (x == NULL)
        st = nx_fail(NEXAR_EAUTH, "it showed no certificate");
    else if (verdict(t->ssl) != NULL)
        st = nx_fail(NEXAR_EAUTH, "its certificate is not good: %s", verdict(t->ssl));
    else if (!has_name(x, t->peer))
        st = nx_fail(NEXAR_EAUTH, "its certificate is that of another member than %s", t->peer);
    X509_free(x);
    return st;
}

nexar_status nx_tls_handshake(struct nx_tls *t)
{
    int n, error;

    ERR_clear_error();
    n = SSL_do_handshake(t->ssl);
    error = SSL_get_error(t->ssl, n);
    if (nx_tls_flush(t) < 0)
        return NEXAR_EPEER;
    if (n == 1)
        return judge(t);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return NEXAR_EAGAIN;
    if (verdict(t->ssl) != NULL)
        return nx_fail(NEXAR_EAUTH, "its certificate is not good: %s", verdict(t->ssl));
    if (ERR_peek_error() == 0)
        return nx_fail(NEXAR_EPEER, "it hung up in the middle of the TLS handshake");
    return fail(NEXAR_EAUTH, "the TLS handshake failed");
}

nexar_status nx_tls_binding(struct nx_tls *t, uint8_t out[NX_TLS_MAC])
{
    static const char label[] = "EXPORTER-nexar-bulk";

    ERR_clear_error();
    if (SSL_export_keying_material(t->ssl, out, NX_TLS_MAC, label, sizeof(label) - 1, NULL, 0, 0) != 1)
        return fail(NEXAR_ESYSTEM, "the TLS session gives no value to bind to");
    return NEXAR_OK;
}

ssize_t nx_tls_read(struct nx_tls *t, void *p, size_t n)
{
    size_t got = 0, some;

    while (got < n) {
        int error;

        ERR_clear_error();
        errno = 0;
        if (SSL_read_ex(t->ssl, (uint8_t *)p + got, n - got, &some) == 1) {
            got += some;
            if (SSL_has_pending(t->ssl) == 0)
                break; /* what is in the socket, epoll tells */
            continue;
        }
        error = SSL_get_error(t->ssl, 0);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE || got != 0)
            break; /* an end is told when there is nothing before it */
        if (error == SSL_ERROR_ZERO_RETURN || (error == SSL_ERROR_SYSCALL && ERR_peek_error() == 0))
            nx_fail(NEXAR_EPEER, "%s", errno == 0 || error != SSL_ERROR_SYSCALL ? "it hung up" : strerror(errno));
        else if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            nx_fail(NEXAR_EPEER, "it hung up");
        else
            fail(NEXAR_EPEER, "TLS");
        return -1;
    }
    return (ssize_t)got;
}

ssize_t nx_tls_write(struct nx_tls *t, const void *p, size_t n)
{
    size_t done = 0, some;

    while (done < n && OUT - t->out_end >= RECORD_MAX && t->out_end < OUT) {
        size_t piece = n - done < RECORD ? n - done : RECORD;

        ERR_clear_error();
        if (t->records++ == nx_tls_key_records) {
            t->records = 1;
            if (SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
                fail(NEXAR_EPEER, "TLS takes no new key");
                return -1;
            }
        }
        if (SSL_write_ex(t->ssl, (const uint8_t *)p + done, piece, &some) != 1) {
            fail(NEXAR_EPEER, "TLS");
            return -1;
        }
        done += some;
    }
    return (ssize_t)done;
}

int nx_tls_flush(struct nx_tls *t)
{
    while (t->out_at < t->out_end) {
        ssize_t n = send(t->fd, t->out + t->out_at, t->out_end - t->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (n < 0) {
            nx_fail(NEXAR_EPEER, "%s", strerror(errno));
            return -1;
        }
        t->out_at += (size_t)n;
    }
    t->out_at = t->out_end = 0;
    return 1;
}

size_t nx_tls_backlog(const struct nx_tls *t)
{
    return t->out_end - t->out_at;
}

/* ---- small things ---- */

bool nx_tls_mac(const void *key, size_t key_size, const void *bytes, size_t n, uint8_t out[NX_TLS_MAC])
{
    unsigned int size = NX_TLS_MAC;
    bool good;

    ERR_set_mark();
    good = HMAC(EVP_sha256(), key, (int)key_size, bytes, n, out, &size) != NULL;
    ERR_pop_to_mark();
    return good && size == NX_TLS_MAC;
}

bool nx_tls_same(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

nexar_status nx_tls_random(void *to, size_t n)
{
    ERR_clear_error();
    return RAND_priv_bytes(to, (int)n) == 1 ? NEXAR_OK : fail(NEXAR_ESYSTEM, "there are no random bytes");
}
