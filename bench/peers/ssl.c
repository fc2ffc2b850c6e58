/* ssl.c - the face of bare OpenSSL: SSL_write and SSL_read of two processes over one TCP socket, TLS 1.3.
 *
 * Owner: the main thread of each process.  It starts the second one by itself.  Nobody verifies the certificate: the
 * handshake is not measured.  Collectives are what the method needs, and no more. */
#include "faces/face.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static SSL *ssl;
static uint32_t self;
static pid_t child;

static void must(bool good, const char *what)
{
    if (good)
        return;
    ERR_print_errors_fp(stderr);
    face_die(what);
}

static void use_identity(SSL_CTX *context)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();

    must(key != NULL && certificate != NULL && X509_set_version(certificate, 2) == 1, "no certificate");
    must(X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) != NULL &&
             X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) != NULL,
         "no certificate");
    must(X509_set_pubkey(certificate, key) == 1 && X509_sign(certificate, key, EVP_sha256()) > 0, "no certificate");
    must(SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1,
         "no identity");
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* A connected socket on each side of a fork. */
static int two_processes(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int door = socket(AF_INET, SOCK_STREAM, 0), fd, yes = 1;

    must(door >= 0 && bind(door, (struct sockaddr *)&address, length) == 0 && listen(door, 1) == 0 &&
             getsockname(door, (struct sockaddr *)&address, &length) == 0,
         "no socket");
    child = fork();
    must(child >= 0, "no second process");
    self = child == 0;
    if (self == 0) {
        fd = accept(door, NULL, NULL);
    } else {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        must(fd >= 0 && connect(fd, (struct sockaddr *)&address, length) == 0, "no connection");
    }
    must(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) == 0, "no connection");
    close(door);
    return fd;
}

static void join(int *argc, char ***argv, uint32_t *rank, uint32_t *size)
{
    SSL_CTX *context;
    int fd = two_processes();

    (void)argc;
    (void)argv;
    context = SSL_CTX_new(self == 0 ? TLS_server_method() : TLS_client_method());
    must(context != NULL && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
             SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1,
         "no TLS");
    use_identity(context);
    ssl = SSL_new(context);
    must(ssl != NULL && SSL_set_fd(ssl, fd) == 1, "no TLS");
    must((self == 0 ? SSL_accept(ssl) : SSL_connect(ssl)) == 1, "no handshake");
    SSL_CTX_free(context);
    *rank = self;
    *size = 2;
}

static void leave(void)
{
    int status = 0;

    SSL_shutdown(ssl);
    if (self == 0)
        must(waitpid(child, &status, 0) == child && status == 0, "the second process failed");
}

static const char *transport(void)
{
    return "ssl";
}

static void give(const float *x, size_t count, uint32_t to)
{
    size_t written;

    (void)to;
    must(SSL_write_ex(ssl, x, count * sizeof(*x), &written) == 1 && written == count * sizeof(*x), "cannot write");
}

static void take(float *x, size_t count, uint32_t from)
{
    char *p = (char *)x;
    size_t left = count * sizeof(*x), got;

    (void)from;
    for (; left != 0; p += got, left -= got)
        must(SSL_read_ex(ssl, p, left, &got) == 1, "cannot read");
}

/* Of blocks that fit into the socket's buffers. */
static void all_gather(const float *x, float *y, size_t block)
{
    give(x, block, 1 - self);
    take(y + (1 - self) * block, block, 1 - self);
    memcpy(y + self * block, x, block * sizeof(*x));
}

static void barrier(void)
{
    float mine[1] = {0}, all[2];

    all_gather(mine, all, 1);
}

const struct face face = {
    .open = join,
    .close = leave,
    .transport = transport,
    .all_gather = all_gather,
    .barrier = barrier,
    .send = give,
    .recv = take,
};
