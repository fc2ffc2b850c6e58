/* quic.c - MsQuic as the scheme wants it: threads, settings, a listener, a connection.
 *
 * Owner: the main thread opens; then everything happens in callbacks, on MsQuic's worker or, with custom execution, on
 * the main thread in run_quic.  Nothing is closed: the process ends when it has its figures. */
#include "yardstick.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 16

static const QUIC_BUFFER alpn = {.Length = 9, .Buffer = (uint8_t *)(uintptr_t) "yardstick"};

void die(const char *what, QUIC_STATUS status)
{
    fprintf(stderr, "nexar-yardstick: %s: status 0x%x\n", what, (unsigned)status);
    _exit(1);
}

static uint16_t core_of(const struct end *end)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return (uint16_t)(cores > 1 ? !end->server : 0);
}

static QUIC_STATUS place_worker(struct end *end)
{
    union {
        QUIC_GLOBAL_EXECUTION_CONFIG config; /* ends in a list of processors; one fits */
        uint8_t space[QUIC_GLOBAL_EXECUTION_CONFIG_MIN_SIZE + sizeof(uint16_t)];
    } u = {0};
    QUIC_GLOBAL_EXECUTION_CONFIG *config = &u.config;

    config->Flags = end->task->scheme.pin ? QUIC_GLOBAL_EXECUTION_CONFIG_FLAG_AFFINITIZE
                                          : QUIC_GLOBAL_EXECUTION_CONFIG_FLAG_NO_IDEAL_PROC;
    config->PollingIdleTimeoutUs = end->task->scheme.poll_us;
    config->ProcessorCount = 1;
    config->ProcessorList[0] = core_of(end);
    return end->quic->SetParam(NULL, QUIC_PARAM_GLOBAL_EXECUTION_CONFIG, sizeof(u.space), config);
}

static QUIC_STATUS place_caller(struct end *end)
{
    QUIC_EXECUTION_CONFIG config = {.IdealProcessor = 0, .EventQ = &end->epoll};
    cpu_set_t set;

    end->epoll = epoll_create1(EPOLL_CLOEXEC);
    CPU_ZERO(&set);
    CPU_SET(core_of(end), &set);
    if (end->task->scheme.pin && sched_setaffinity(0, sizeof(set), &set) != 0)
        perror("nexar-yardstick: not pinned");
    return end->quic->ExecutionCreate(QUIC_GLOBAL_EXECUTION_CONFIG_FLAG_NONE, 0, 1, &config, &end->execution);
}

#define SET(s, field, value) ((s)->field = (value), (s)->IsSet.field = 1)

static QUIC_STATUS configure(struct end *end)
{
    QUIC_SETTINGS s = {0};
    QUIC_CREDENTIAL_CONFIG credential = {.Type = QUIC_CREDENTIAL_TYPE_NONE,
                                         .Flags = QUIC_CREDENTIAL_FLAG_CLIENT |
                                                  QUIC_CREDENTIAL_FLAG_NO_CERTIFICATE_VALIDATION};
    QUIC_CERTIFICATE_PKCS12 identity = {.PrivateKeyPassword = ""};
    QUIC_STATUS status;

    SET(&s, SendBufferingEnabled, 0);
    SET(&s, MaxAckDelayMs, 1);
    SET(&s, SendIdleTimeoutMs, UINT32_MAX);
    SET(&s, InitialWindowPackets, 100);
    SET(&s, MaxOperationsPerDrain, 4);
    SET(&s, ConnFlowControlWindow, 64u << 20);
    SET(&s, StreamRecvWindowDefault, 16u << 20);
    SET(&s, StreamRecvWindowUnidiDefault, 16u << 20);
    SET(&s, PeerUnidiStreamCount, 4096);
    SET(&s, IdleTimeoutMs, 30000);
    status = end->quic->ConfigurationOpen(end->registration, &alpn, 1, &s, sizeof(s), NULL, &end->configuration);
    if (QUIC_FAILED(status))
        return status;
    if (end->server) {
        identity.Asn1Blob = make_identity(&identity.Asn1BlobLength);
        if (identity.Asn1Blob == NULL)
            return QUIC_STATUS_INTERNAL_ERROR;
        credential.Type = QUIC_CREDENTIAL_TYPE_CERTIFICATE_PKCS12;
        credential.Flags = QUIC_CREDENTIAL_FLAG_NONE;
        credential.CertificatePkcs12 = &identity;
    }
    status = end->quic->ConfigurationLoadCredential(end->configuration, &credential);
    free((void *)(uintptr_t)identity.Asn1Blob);
    return status;
}

void open_quic(struct end *end)
{
    QUIC_REGISTRATION_CONFIG config = {.AppName = "yardstick", .ExecutionProfile = QUIC_EXECUTION_PROFILE_LOW_LATENCY};
    QUIC_STATUS status = MsQuicOpenVersion(QUIC_API_VERSION_2, (const void **)&end->quic);

    if (QUIC_FAILED(status))
        die("MsQuic does not open", status);
    status = end->task->scheme.caller ? place_caller(end) : place_worker(end);
    if (QUIC_FAILED(status))
        die("MsQuic refuses the threads of this scheme", status);
    status = end->quic->RegistrationOpen(&config, &end->registration);
    if (QUIC_SUCCEEDED(status))
        status = configure(end);
    if (QUIC_FAILED(status))
        die("MsQuic does not start", status);
}

static QUIC_STATUS on_connection(HQUIC connection, void *arg, QUIC_CONNECTION_EVENT *event)
{
    struct end *end = arg;

    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_CONNECTED:
        end->connection = connection;
        work_begin(end);
        break;
    case QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED:
        /* Else each finished stream costs a packet in the other direction. */
        event->PEER_STREAM_STARTED.Flags |= QUIC_STREAM_OPEN_FLAG_DELAY_ID_FC_UPDATES;
        work_accept(end, event->PEER_STREAM_STARTED.Stream);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_INITIATED_BY_TRANSPORT:
        die("the connection broke", event->SHUTDOWN_INITIATED_BY_TRANSPORT.Status);
    case QUIC_CONNECTION_EVENT_SHUTDOWN_INITIATED_BY_PEER:
        die("the other process gave up", QUIC_STATUS_ABORTED);
    default:
        break;
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS on_listener(HQUIC listener, void *arg, QUIC_LISTENER_EVENT *event)
{
    struct end *end = arg;

    (void)listener;
    if (event->Type != QUIC_LISTENER_EVENT_NEW_CONNECTION)
        return QUIC_STATUS_SUCCESS;
    end->quic->SetCallbackHandler(event->NEW_CONNECTION.Connection, (void *)(uintptr_t)on_connection, end);
    return end->quic->ConnectionSetConfiguration(event->NEW_CONNECTION.Connection, end->configuration);
}

uint16_t listen_quic(struct end *end)
{
    QUIC_ADDR address = {0};
    uint32_t size = sizeof(address);
    HQUIC listener;
    QUIC_STATUS status = end->quic->ListenerOpen(end->registration, on_listener, end, &listener);

    QuicAddrSetFamily(&address, QUIC_ADDRESS_FAMILY_INET);
    address.Ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (QUIC_SUCCEEDED(status))
        status = end->quic->ListenerStart(listener, &alpn, 1, &address);
    if (QUIC_SUCCEEDED(status))
        status = end->quic->GetParam(listener, QUIC_PARAM_LISTENER_LOCAL_ADDRESS, &size, &address);
    if (QUIC_FAILED(status))
        die("MsQuic does not listen", status);
    return QuicAddrGetPort(&address);
}

void connect_quic(struct end *end, uint16_t port)
{
    HQUIC connection;
    QUIC_STATUS status = end->quic->ConnectionOpen(end->registration, on_connection, end, &connection);

    if (QUIC_SUCCEEDED(status))
        status =
            end->quic->ConnectionStart(connection, end->configuration, QUIC_ADDRESS_FAMILY_INET, "127.0.0.1", port);
    if (QUIC_FAILED(status))
        die("MsQuic does not connect", status);
}

static void one_turn(struct end *end)
{
    struct epoll_event events[EVENTS];
    int n;

    end->quic->ExecutionPoll(end->execution);
    n = epoll_wait(end->epoll, events, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        QUIC_SQE *sqe = events[i].data.ptr;

        sqe->Completion((QUIC_CQE *)&events[i]);
    }
}

void run_quic(struct end *end)
{
    if (!end->task->scheme.caller)
        while (sem_wait(&end->done_sem) != 0)
            continue;
    else
        while (!end->done)
            one_turn(end);
}
