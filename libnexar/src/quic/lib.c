/* quic/lib.c - the one MsQuic of the process: API table, execution, registration; and configurations with every setting
 * and why.
 *
 * Owner: opened once, on the first use, and kept until the process ends (with custom execution, MsQuic leaves a closed
 * registration's worker in the list that it polls).  It makes no threads: the engine polls. */
#include "base/mem.h"
#include "quic/internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const QUIC_API_TABLE *api;
static HQUIC registration;
static QUIC_EXECUTION *execution;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static nexar_status opened;

/* The engine dispatches MsQuic's events through its own type. */
_Static_assert(sizeof(struct nx_event) == sizeof(QUIC_SQE) && offsetof(struct nx_event, fd) == offsetof(QUIC_SQE, fd) &&
                   offsetof(struct nx_event, ready) == offsetof(QUIC_SQE, Completion) &&
                   sizeof(QUIC_CQE) == sizeof(struct epoll_event),
               "MsQuic's events must look like the engine's");

static uint32_t poll_msquic(void)
{
    return api->ExecutionPoll(execution);
}

/* A handshake that has begun costs some 100 KiB, nearly all of it TLS's, and one forged packet begins it.  So once
 * there are 64, callers must first show that they get our answers, by a Retry, for which nothing is remembered.
 * MsQuic wants that as parts in 65535 of the machine's memory, and takes a handshake for 34 KiB. */
static void guard_handshakes(void)
{
    enum { HANDSHAKES = 64, MSQUIC_ESTIMATE = 34 * 1024 };
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t parts = (uint64_t)HANDSHAKES * MSQUIC_ESTIMATE * UINT16_MAX / (memory + 1);
    uint16_t limit = parts == 0 ? 1 : parts > UINT16_MAX ? UINT16_MAX : (uint16_t)parts;
    QUIC_SETTINGS settings = {0};

    /* Answers of that kind in 100 ms: a large job may well begin at once. */
    settings.MaxBindingStatelessOperations = 1000;
    settings.IsSet.MaxBindingStatelessOperations = 1;
    api->SetParam(NULL, QUIC_PARAM_GLOBAL_RETRY_MEMORY_PERCENT, sizeof(limit), &limit);
    api->SetParam(NULL, QUIC_PARAM_GLOBAL_SETTINGS, sizeof(settings), &settings);
}

static void open_once(void)
{
    static int epoll; /* MsQuic keeps its address */
    QUIC_EXECUTION_CONFIG config = {.IdealProcessor = 0, .EventQ = &epoll};
    QUIC_REGISTRATION_CONFIG registration_config = {.AppName = "nexar",
                                                    .ExecutionProfile = QUIC_EXECUTION_PROFILE_LOW_LATENCY};
    uint32_t version[4] = {0}, size = sizeof(version);
    QUIC_STATUS status;

    opened = nx_engine_start();
    if (opened != NEXAR_OK)
        return;
    epoll = nx_engine_epoll();
    status = MsQuicOpenVersion(QUIC_API_VERSION_2, (const void **)&api);
    if (QUIC_FAILED(status)) {
        opened = nx_quic_fail(status, "MsQuic does not open");
        return;
    }
    /* An older library's table is shorter: look before touching what came with 2.5. */
    status = api->GetParam(NULL, QUIC_PARAM_GLOBAL_LIBRARY_VERSION, &size, version);
    if (QUIC_FAILED(status) || version[0] < 2 || (version[0] == 2 && version[1] < 5)) {
        opened = nx_fail(NEXAR_ENOTSUP, "MsQuic %u.%u is too old: 2.5 or newer is needed", version[0], version[1]);
        return;
    }
    status = api->ExecutionCreate(QUIC_GLOBAL_EXECUTION_CONFIG_FLAG_NONE, 0, 1, &config, &execution);
    if (QUIC_SUCCEEDED(status))
        status = api->RegistrationOpen(&registration_config, &registration);
    if (QUIC_FAILED(status)) {
        opened = nx_quic_fail(status, "MsQuic does not start");
        return;
    }
    guard_handshakes();
    nx_engine_set_poll(poll_msquic);
}

nexar_status nx_quic_open(void)
{
    pthread_once(&once, open_once);
    return opened != NEXAR_OK ? opened : nx_engine_alive();
}

const QUIC_API_TABLE *nx_quic_api(void)
{
    return api;
}

HQUIC nx_quic_registration(void)
{
    return registration;
}

nexar_status nx_quic_version(char *text, size_t cap)
{
    uint32_t version[4] = {0}, size = sizeof(version);
    nexar_status st = nx_quic_open();

    if (st != NEXAR_OK)
        return st;
    api->GetParam(NULL, QUIC_PARAM_GLOBAL_LIBRARY_VERSION, &size, version);
    snprintf(text, cap, "%u.%u.%u", version[0], version[1], version[2]);
    return NEXAR_OK;
}

/* ---- configurations ---- */

#define SET(s, field, value) ((s)->field = (value), (s)->IsSet.field = 1)

static uint32_t milliseconds(nx_time t)
{
    return t / NX_MS > UINT32_MAX ? UINT32_MAX : (uint32_t)(t / NX_MS);
}

static void fill(QUIC_SETTINGS *s, const struct nx_quic_settings *from)
{
    /* We copy small payloads and borrow large ones; another copy inside MsQuic would buy nothing. */
    SET(s, SendBufferingEnabled, 0);
    /* A borrowed send is done when it is acknowledged: at the default of 25 ms each would wait for its tail, and loss
     * of the last packet would be noticed as late. */
    SET(s, MaxAckDelayMs, 1);
    /* Else the congestion window is forgotten after a second of silence, and every step of a training loop starts slow.
     * */
    SET(s, SendIdleTimeoutMs, UINT32_MAX);
    /* 10 packets would cost a large message three round trips; data centres and loopback take 100. */
    SET(s, InitialWindowPackets, 100);
    /* Each may be some 60 KB of a large message to encrypt and send.  With the default of 16 a small message that comes
     * in waits a millisecond until the socket is looked at again. */
    SET(s, MaxOperationsPerDrain, 4);
    SET(s, ConnFlowControlWindow, (uint32_t)from->connection_window);
    SET(s, StreamRecvWindowDefault, (uint32_t)from->stream_window);
    SET(s, StreamRecvWindowBidiLocalDefault, (uint32_t)from->stream_window);
    SET(s, StreamRecvWindowBidiRemoteDefault, (uint32_t)from->stream_window);
    SET(s, StreamRecvWindowUnidiDefault, (uint32_t)from->stream_window);
    /* Zero by default: nothing could be opened. */
    SET(s, PeerUnidiStreamCount, from->uni_streams);
    SET(s, PeerBidiStreamCount, from->bidi_streams);
    SET(s, HandshakeIdleTimeoutMs, milliseconds(from->handshake_timeout));
    /* Before the first sample.  With the default of 333 ms, a first packet that is lost, because the other has not
     * opened its port yet, costs a second; where 50 ms are too few, a handshake packet is sent twice. */
    SET(s, InitialRttMs, 50);
    SET(s, IdleTimeoutMs, milliseconds(from->idle_timeout));
    /* A peer that is well is never silent for half the time after which it is lost. */
    SET(s, KeepAliveIntervalMs,
        milliseconds(from->keep_alive < from->disconnect / 4 ? from->keep_alive : from->disconnect / 4));
    /* Where somebody listens for silence, only the last resort: silence.c says why. */
    SET(s, DisconnectTimeoutMs, milliseconds(from->keep_alive != 0 ? 4 * from->disconnect : from->disconnect));
    /* A rank does not change its address, and nobody else may change it for him. */
    SET(s, MigrationEnabled, 0);
}

/* The library is linked so that MsQuic finds this for the function of OpenSSL: it would read the authorities that
 * SSL_CERT_FILE names, 3 ms and a megabyte, for every configuration, and nobody asks for them. */
int __wrap_SSL_CTX_set_default_verify_paths(void *context);

int __wrap_SSL_CTX_set_default_verify_paths(void *context)
{
    return context != NULL;
}

static QUIC_STATUS load_credential(HQUIC handle, const struct nx_quic_settings *settings)
{
    QUIC_CERTIFICATE_PKCS12 pkcs12 = {
        .Asn1Blob = settings->pkcs12, .Asn1BlobLength = (uint32_t)settings->pkcs12_len, .PrivateKeyPassword = ""};
    /* Certificates are judged by the certificate event alone: MsQuic's own validation would trust the system's
     * authorities too, and would not say which rule was broken. */
    QUIC_CREDENTIAL_CONFIG c = {.Flags = QUIC_CREDENTIAL_FLAG_NO_CERTIFICATE_VALIDATION |
                                         QUIC_CREDENTIAL_FLAG_INDICATE_CERTIFICATE_RECEIVED |
                                         QUIC_CREDENTIAL_FLAG_USE_PORTABLE_CERTIFICATES};

    if (settings->client)
        c.Flags |= QUIC_CREDENTIAL_FLAG_CLIENT;
    else if (settings->want_certificate)
        c.Flags |= QUIC_CREDENTIAL_FLAG_REQUIRE_CLIENT_AUTHENTICATION;
    else
        c.Flags &= ~(QUIC_CREDENTIAL_FLAGS)QUIC_CREDENTIAL_FLAG_INDICATE_CERTIFICATE_RECEIVED;
    if (settings->pkcs12 != NULL) {
        c.Type = QUIC_CREDENTIAL_TYPE_CERTIFICATE_PKCS12;
        c.CertificatePkcs12 = &pkcs12;
    } else {
        c.Type = QUIC_CREDENTIAL_TYPE_NONE;
    }
    return api->ConfigurationLoadCredential(handle, &c);
}

nexar_status nx_quic_config_open(const struct nx_quic_settings *settings, struct nx_quic_config **config)
{
    QUIC_BUFFER alpn[2];
    QUIC_SETTINGS quic = {0};
    uint32_t alpns = 0;
    QUIC_STATUS status;
    nexar_status st = nx_quic_open();

    *config = NULL;
    if (st != NEXAR_OK)
        return st;
    for (; alpns < 2 && settings->alpn[alpns] != NULL; alpns++)
        alpn[alpns] = (QUIC_BUFFER){.Length = (uint32_t)strlen(settings->alpn[alpns]),
                                    .Buffer = (uint8_t *)(uintptr_t)settings->alpn[alpns]};
    *config = nx_calloc(1, sizeof(**config));
    if (*config == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a QUIC configuration");
    fill(&quic, settings);
    if (settings->keep_alive != 0)
        (*config)->silence = settings->disconnect;
    status = api->ConfigurationOpen(registration, alpn, alpns, &quic, sizeof(quic), NULL, &(*config)->handle);
    if (QUIC_SUCCEEDED(status))
        status = load_credential((*config)->handle, settings);
    if (QUIC_SUCCEEDED(status))
        return NEXAR_OK;
    nx_quic_config_close(*config);
    *config = NULL;
    return nx_quic_fail(status, "the QUIC configuration is refused");
}

void nx_quic_config_close(struct nx_quic_config *config)
{
    if (config == NULL)
        return;
    if (config->handle != NULL)
        api->ConfigurationClose(config->handle);
    nx_free(config);
}

/* ---- statuses ---- */

const char *nx_quic_status_text(QUIC_STATUS status)
{
    switch (status) {
    case QUIC_STATUS_OUT_OF_MEMORY:
        return "out of memory";
    case QUIC_STATUS_CONNECTION_TIMEOUT:
        return "it does not answer any more";
    case QUIC_STATUS_CONNECTION_IDLE:
        return "nothing came for too long";
    case QUIC_STATUS_UNREACHABLE:
        return "no host or no process at that address";
    case QUIC_STATUS_CONNECTION_REFUSED:
        return "it refused the connection";
    case QUIC_STATUS_HANDSHAKE_FAILURE:
    case QUIC_STATUS_TLS_ERROR:
        return "the TLS handshake failed";
    case QUIC_STATUS_ALPN_NEG_FAILURE:
        return "it speaks none of our protocol versions";
    case QUIC_STATUS_VER_NEG_ERROR:
        return "it speaks another version of QUIC";
    case QUIC_STATUS_ADDRESS_IN_USE:
        return "the address is in use";
    case QUIC_STATUS_ALPN_IN_USE:
        return "this process listens there already";
    case QUIC_STATUS_INVALID_ADDRESS:
        return "the address is not one of this host";
    case QUIC_STATUS_PROTOCOL_ERROR:
        return "it broke the QUIC protocol";
    case QUIC_STATUS_INTERNAL_ERROR: /* what a peer says that has waited for too long */
        return "it gave the connection up, as without answers from here";
    case QUIC_STATUS_ABORTED:
        return "the connection was cut";
    case QUIC_STATUS_BAD_CERTIFICATE:
    case QUIC_STATUS_REQUIRED_CERTIFICATE:
    case QUIC_STATUS_UNKNOWN_CERTIFICATE:
    case QUIC_STATUS_EXPIRED_CERTIFICATE:
    case QUIC_STATUS_REVOKED_CERTIFICATE:
    case QUIC_STATUS_CERT_UNTRUSTED_ROOT:
    case QUIC_STATUS_CERT_NO_CERT:
        return "it refused our certificate";
    default:
        return NULL;
    }
}

nexar_status nx_quic_fail(QUIC_STATUS status, const char *what)
{
    const char *text = nx_quic_status_text(status);
    nexar_status st = status == QUIC_STATUS_OUT_OF_MEMORY ? NEXAR_ENOMEM : NEXAR_ESYSTEM;

    if (text != NULL)
        return nx_fail(st, "%s: %s", what, text);
    return nx_fail(st, "%s: status 0x%x", what, (unsigned)status);
}
